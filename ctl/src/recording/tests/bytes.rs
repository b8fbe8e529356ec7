//! Files made byte by byte: WAV and its relatives, AIFF, ADPCM.

/// Sixteen frames that no two readers confuse: full scale both ways, the least steps, nothing.
pub const FRAMES: [i32; 16] = [
    0, 16_384, 0, -16_384, 32_767, -32_768, 1, -1, 256, -256, 12_345, -12_345, 2, -2, 8_192, 0,
];
pub const MENDED: bool = true;
pub const WHOLE: bool = false;

pub fn expected() -> Vec<f32> {
    FRAMES.iter().map(|x| *x as f32 / 32_768.0).collect()
}

/// The frames as integers of a number of bytes.
pub fn pcm(width: usize) -> Vec<u8> {
    let bytes = |x: &i32| (x << 16).to_le_bytes()[4 - width..].to_vec();
    FRAMES.iter().flat_map(bytes).collect()
}

pub fn part(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    sized(id, body.len() as u32, body)
}

/// A chunk with the given length in its header.
pub fn sized(id: &[u8; 4], said: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = [&id[..], &said.to_le_bytes(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

pub fn file(id: &[u8; 4], said: Option<u32>, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    let said = said.unwrap_or(body.len() as u32 + 4);
    [&id[..], &said.to_le_bytes(), b"WAVE", &body].concat()
}

pub fn wav(parts: &[Vec<u8>]) -> Vec<u8> {
    file(b"RIFF", None, parts)
}

/// What the sound is: kind, channels, bits, and bytes of a frame.
pub fn fmt(kind: u16, channels: u16, bits: u16, frame: u16, more: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for half in [kind, channels] {
        body.extend_from_slice(&half.to_le_bytes());
    }
    for word in [48_000, 48_000 * u32::from(frame)] {
        body.extend_from_slice(&u32::to_le_bytes(word));
    }
    for half in [frame, bits] {
        body.extend_from_slice(&half.to_le_bytes());
    }
    body.extend_from_slice(more);
    part(b"fmt ", &body)
}

pub fn fmt16() -> Vec<u8> {
    fmt(1, 1, 16, 2, &[])
}

pub fn extensible(kind: u16, bits: u16, valid: u16, frame: u16) -> Vec<u8> {
    let tail = [0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113];
    let more = [
        &[22, 0][..],
        &valid.to_le_bytes(),
        &4_u32.to_le_bytes(),
        &kind.to_le_bytes(),
        &tail,
    ];
    fmt(0xfffe, 1, bits, frame, &more.concat())
}

pub fn ds64(sound: u64) -> Vec<u8> {
    let words = [sound + 72, sound, 16];
    let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend_from_slice(&[0; 4]);
    part(b"ds64", &body)
}

pub fn big(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = [&id[..], &(body.len() as u32).to_be_bytes(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

/// An AIFF file of the frames, truncated after a number of bytes of its sound.
pub fn aiff(said_frames: u32, bytes: usize) -> Vec<u8> {
    // 48,000 as an 80-bit number: 2^15 times 1.46484375.
    let rate = [0x40, 0x0e, 0xbb, 0x80, 0, 0, 0, 0, 0, 0];
    let format = [
        &1_u16.to_be_bytes()[..],
        &said_frames.to_be_bytes(),
        &16_u16.to_be_bytes(),
        &rate,
    ];
    let sound: Vec<u8> = FRAMES
        .iter()
        .flat_map(|x| (*x as i16).to_be_bytes())
        .collect();
    let sound = big(b"SSND", &[&[0; 8][..], &sound].concat());
    let body = [&b"AIFF"[..], &big(b"COMM", &format.concat()), &sound].concat();
    let mut file = big(b"FORM", &body);
    file.truncate(file.len() - 32 + bytes);
    file
}

/// A block of IMA ADPCM of one channel and its samples, as decoded by ffmpeg.
pub fn ima(first: i16, index: usize, codes: &[u8]) -> (Vec<u8>, Vec<f32>) {
    let steps: Vec<i32> = (0..89_i32)
        .scan((7.0_f64, 0), |_, n| Some(IMA_STEPS[n as usize]))
        .collect();
    let moves = [-1, -1, -1, -1, 2, 4, 6, 8];
    let (mut at, mut index_now) = (i32::from(first), index as i32);
    let mut heard = vec![at as f32 / 32_768.0];
    for code in codes {
        let step = steps[index_now as usize];
        // In one product, as ffmpeg and symphonia do it; the steps alone differ by a few least bits.
        let by = ((2 * i32::from(code & 7) + 1) * step) >> 3;
        at = (at + if code & 8 != 0 { -by } else { by }).clamp(-32_768, 32_767);
        index_now = (index_now + moves[usize::from(code & 7)]).clamp(0, 88);
        heard.push(at as f32 / 32_768.0);
    }
    let mut block = first.to_le_bytes().to_vec();
    block.extend_from_slice(&[index as u8, 0]);
    block.extend(codes.chunks(2).map(|pair| pair[0] | pair[1] << 4));
    (block, heard)
}

#[rustfmt::skip]
pub const IMA_STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88, 97, 107,
    118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658, 724, 796, 876, 963,
    1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894,
    6484, 7132, 7845, 8630, 9493, 10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794,
    32767,
];

/// A block of Microsoft ADPCM of one channel and its samples, by the specification.
pub fn ms(set: usize, delta: i16, last: [i16; 2], codes: &[u8]) -> (Vec<u8>, Vec<f32>) {
    let factors = [
        (256, 0),
        (512, -256),
        (0, 0),
        (192, 64),
        (240, 0),
        (460, -208),
        (392, -232),
    ][set];
    let table = [
        230, 230, 230, 230, 307, 409, 512, 614, 768, 614, 512, 409, 307, 230, 230, 230,
    ];
    let [mut newer, mut older] = last.map(i32::from);
    let mut heard = vec![older, newer];
    let mut delta_now = i32::from(delta);
    for code in codes {
        let signed = i32::from(*code) - if *code >= 8 { 16 } else { 0 };
        let next = ((newer * factors.0 + older * factors.1) / 256 + signed * delta_now)
            .clamp(-32_768, 32_767);
        delta_now = (table[usize::from(*code)] * delta_now / 256).max(16);
        (older, newer) = (newer, next);
        heard.push(next);
    }
    let mut block = vec![set as u8];
    for half in [delta, last[0], last[1]] {
        block.extend_from_slice(&half.to_le_bytes());
    }
    block.extend(codes.chunks(2).map(|pair| pair[0] << 4 | pair[1]));
    (block, heard.iter().map(|x| *x as f32 / 32_768.0).collect())
}
