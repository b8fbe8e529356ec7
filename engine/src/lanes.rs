//! The numbers that modules compute with: one channel at a time, or 8 or 16 side by side.
//!
//! A module's arithmetic is written once, over [`Lanes`]. The engine runs it on single numbers if a
//! cable has one channel, and on vectors if it has more. There are only operations for which IEEE 754
//! fixes every bit (no fused multiply-add, no approximate reciprocal). Therefore the instruction set
//! changes the speed but no bit of the sound, and a log renders to the same samples on another
//! machine.

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Sub};

use fearless_simd::{
    Level, Select as _, Simd, SimdBase as _, SimdFloat as _, SimdInt as _, SimdMask as _, f32x8,
    f32x16, i32x8, i32x16, mask32x8, mask32x16, u32x8, u32x16,
};

/// The most channels that are computed side by side.
pub const LANES_MAX: usize = 16;

/// Evaluates an expression with channels side by side, given a token that proves the instructions; or,
/// if the processor has none that are worth it, another expression with one channel at a time.
macro_rules! with_lanes {
    ($level:expr, $simd:ident => $wide:expr, else $narrow:expr) => {{
        #[cfg(target_arch = "x86_64")]
        match $level.as_avx2() {
            Some($simd) => fearless_simd::Simd::vectorize(
                $simd,
                #[inline(always)]
                || $wide,
            ),
            None => $narrow,
        }
        #[cfg(not(target_arch = "x86_64"))]
        fearless_simd::dispatch!($level, $simd => $wide)
    }};
}
pub(crate) use with_lanes;

/// Whether channels are computed side by side.
pub fn wide(level: Level) -> bool {
    with_lanes!(level, _simd => true, else false)
}

/// Returns the closure. The closure is marked `#[inline(always)]`: code that computes with [`Lanes`]
/// must be compiled into the function that has chosen the instructions, since a call out of it is many
/// times slower.
pub const fn inlined<F>(closure: F) -> F {
    closure
}

/// One number per channel, for [`Lanes::N`] channels.
///
/// # Real-time
/// Yes, all methods.
pub trait Lanes:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Proof that the processor has the instructions.
    type Token: Copy;
    /// The same lanes as integers.
    type Bits: Bits<Token = Self::Token, Mask = Self::Mask>;
    /// One boolean per channel.
    type Mask: Mask;
    /// The number of channels.
    const N: usize;

    /// The same number in each channel.
    fn splat(token: Self::Token, value: f32) -> Self;
    /// Loads the first [`Lanes::N`] numbers of a slice.
    fn load(token: Self::Token, from: &[f32]) -> Self;
    /// Stores the lanes at the beginning of a slice.
    fn store(self, to: &mut [f32]);
    /// The lesser; `other` if one is NaN.
    fn min(self, other: Self) -> Self;
    /// The greater; `other` if one is NaN.
    fn max(self, other: Self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The largest integer that is not greater.
    fn floor(self) -> Self;
    /// Where `self` is less than `other`.
    fn lt(self, other: Self) -> Self::Mask;
    /// Where `self` is less than or equal to `other`.
    fn le(self, other: Self) -> Self::Mask;
    /// `yes` where the mask is true, else `no`.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// The bits of the numbers.
    fn to_bits(self) -> Self::Bits;
    /// The numbers with these bits.
    fn from_bits(bits: Self::Bits) -> Self;
    /// The integer part, as a signed integer; for numbers between -2^31 and 2^31.
    fn truncate(self) -> Self::Bits;
    /// Converts signed integers.
    fn of_signed(bits: Self::Bits) -> Self;

    /// The number of one channel.
    fn lane(self, channel: usize) -> f32;
}

/// One 32-bit integer per channel; sums and products wrap.
pub trait Bits:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
{
    /// As [`Lanes::Token`].
    type Token: Copy;
    /// As [`Lanes::Mask`].
    type Mask: Mask;

    /// The same integer in each channel.
    fn splat(token: Self::Token, value: u32) -> Self;
    /// Loads integers from the beginning of a slice.
    fn load(token: Self::Token, from: &[u32]) -> Self;
    /// Stores integers at the beginning of a slice.
    fn store(self, to: &mut [u32]);
    /// Shifted left.
    fn up(self, bits: u32) -> Self;
    /// Shifted right; zeros move in.
    fn down(self, bits: u32) -> Self;
    /// The absolute value of a signed integer.
    fn abs(self) -> Self;
    /// Where `self` is less than `other`.
    fn lt(self, other: Self) -> Self::Mask;
    /// `yes` where the mask is true, else `no`.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
}

/// One boolean per channel.
pub trait Mask: Copy + BitAnd<Output = Self> + BitOr<Output = Self> + Not<Output = Self> {
    /// Whether any is true.
    fn any(self) -> bool;
    /// One bit per channel, the first in the lowest bit.
    fn bits(self) -> u32;
}

impl Lanes for f32 {
    type Token = ();
    type Bits = Whole;
    type Mask = bool;
    const N: usize = 1;

    #[inline(always)]
    fn splat(_: (), value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn load(_: (), from: &[f32]) -> Self {
        from[0]
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[0] = self;
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::from_bits(self.to_bits() & 0x7fff_ffff)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn floor(self) -> Self {
        self.floor()
    }
    #[inline(always)]
    fn lt(self, other: Self) -> bool {
        self < other
    }
    #[inline(always)]
    fn le(self, other: Self) -> bool {
        self <= other
    }
    #[inline(always)]
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn to_bits(self) -> Whole {
        Whole(self.to_bits())
    }
    #[inline(always)]
    fn from_bits(bits: Whole) -> Self {
        f32::from_bits(bits.0)
    }
    #[inline(always)]
    fn truncate(self) -> Whole {
        Whole(self as i32 as u32)
    }
    #[inline(always)]
    fn of_signed(bits: Whole) -> Self {
        bits.0 as i32 as f32
    }
    #[inline(always)]
    fn lane(self, _channel: usize) -> f32 {
        self
    }
}

/// An integer whose sums and products wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub u32);

macro_rules! whole {
    ($($trait:ident $operator:ident $with:ident;)*) => {
        $(impl $trait for Whole {
            type Output = Self;
            #[inline(always)]
            fn $operator(self, other: Self) -> Self {
                Self(self.0.$with(other.0))
            }
        })*
    };
}

whole! {
    Add add wrapping_add;
    Sub sub wrapping_sub;
    Mul mul wrapping_mul;
    BitAnd bitand bitand;
    BitOr bitor bitor;
    BitXor bitxor bitxor;
}

impl Bits for Whole {
    type Token = ();
    type Mask = bool;

    #[inline(always)]
    fn splat(_: (), value: u32) -> Self {
        Self(value)
    }
    #[inline(always)]
    fn load(_: (), from: &[u32]) -> Self {
        Self(from[0])
    }
    #[inline(always)]
    fn store(self, to: &mut [u32]) {
        to[0] = self.0;
    }
    #[inline(always)]
    fn up(self, bits: u32) -> Self {
        Self(self.0 << bits)
    }
    #[inline(always)]
    fn down(self, bits: u32) -> Self {
        Self(self.0 >> bits)
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self((self.0 as i32).wrapping_abs() as u32)
    }
    #[inline(always)]
    fn lt(self, other: Self) -> bool {
        self.0 < other.0
    }
    #[inline(always)]
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
}

impl Mask for bool {
    #[inline(always)]
    fn any(self) -> bool {
        self
    }
    #[inline(always)]
    fn bits(self) -> u32 {
        self.into()
    }
}

macro_rules! vectors {
    ($float:ident, $signed:ident, $whole:ident, $mask:ident, $n:literal) => {
        impl<S: Simd> Lanes for $float<S> {
            type Token = S;
            type Bits = $whole<S>;
            type Mask = $mask<S>;
            const N: usize = $n;

            #[inline(always)]
            fn splat(token: S, value: f32) -> Self {
                fearless_simd::SimdBase::splat(token, value)
            }
            #[inline(always)]
            fn load(token: S, from: &[f32]) -> Self {
                Self::from_slice(token, from)
            }
            #[inline(always)]
            fn store(self, to: &mut [f32]) {
                self.store_slice(to);
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                fearless_simd::SimdBase::min(self, other)
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                fearless_simd::SimdBase::max(self, other)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                fearless_simd::SimdBase::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                fearless_simd::SimdFloat::sqrt(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                fearless_simd::SimdFloat::floor(self)
            }
            #[inline(always)]
            fn lt(self, other: Self) -> $mask<S> {
                self.simd_lt(other)
            }
            #[inline(always)]
            fn le(self, other: Self) -> $mask<S> {
                self.simd_le(other)
            }
            #[inline(always)]
            fn select(mask: $mask<S>, yes: Self, no: Self) -> Self {
                mask.select(yes, no)
            }
            #[inline(always)]
            fn to_bits(self) -> $whole<S> {
                fearless_simd::SimdFloat::to_bits(self)
            }
            #[inline(always)]
            fn from_bits(bits: $whole<S>) -> Self {
                fearless_simd::SimdFloat::from_bits(bits)
            }
            #[inline(always)]
            fn truncate(self) -> $whole<S> {
                fearless_simd::Bytes::bitcast(self.to_int::<$signed<S>>())
            }
            #[inline(always)]
            fn of_signed(bits: $whole<S>) -> Self {
                let signed: $signed<S> = fearless_simd::Bytes::bitcast(bits);
                signed.to_float()
            }
            #[inline(always)]
            fn lane(self, channel: usize) -> f32 {
                let mut all = [0.0; $n];
                self.store_slice(&mut all);
                all[channel]
            }
        }

        impl<S: Simd> Bits for $whole<S> {
            type Token = S;
            type Mask = $mask<S>;

            #[inline(always)]
            fn splat(token: S, value: u32) -> Self {
                fearless_simd::SimdBase::splat(token, value)
            }
            #[inline(always)]
            fn load(token: S, from: &[u32]) -> Self {
                Self::from_slice(token, from)
            }
            #[inline(always)]
            fn store(self, to: &mut [u32]) {
                self.store_slice(to);
            }
            #[inline(always)]
            fn up(self, bits: u32) -> Self {
                self << bits
            }
            #[inline(always)]
            fn down(self, bits: u32) -> Self {
                self >> bits
            }
            #[inline(always)]
            fn abs(self) -> Self {
                let signed: $signed<S> = fearless_simd::Bytes::bitcast(self);
                fearless_simd::Bytes::bitcast(fearless_simd::SimdBase::abs(signed))
            }
            #[inline(always)]
            fn lt(self, other: Self) -> $mask<S> {
                self.simd_lt(other)
            }
            #[inline(always)]
            fn select(mask: $mask<S>, yes: Self, no: Self) -> Self {
                mask.select(yes, no)
            }
        }

        impl<S: Simd> Mask for $mask<S> {
            #[inline(always)]
            fn any(self) -> bool {
                self.any_true()
            }
            #[inline(always)]
            fn bits(self) -> u32 {
                self.to_bitmask() as u32
            }
        }
    };
}

vectors!(f32x8, i32x8, u32x8, mask32x8, 8);
vectors!(f32x16, i32x16, u32x16, mask32x16, 16);
