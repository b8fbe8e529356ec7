//! Files as they occur in practice, made here byte by byte, so that every sample is known.

mod bytes;
mod conversion;

use common::sample::{Loop, Way};

use super::*;
use bytes::*;
use conversion::tone_and_rest;

/// Name, bytes, the expected samples, whether something was repaired.
type Case = (&'static str, Vec<u8>, Vec<f32>, bool);

fn sizes() -> Vec<Case> {
    let data = part(b"data", &pcm(2));
    let junk = part(b"LIST", b"INFOISFT\x06\0\0\0Lavf60");
    let with_data = |said: u32| wav(&[fmt16(), sized(b"data", said, &pcm(2))]);
    let riff = |said: u32| file(b"RIFF", Some(said), &[fmt16(), data.clone()]);
    let cut = |bytes: usize| {
        let whole = wav(&[fmt16(), data.clone()]);
        whole[..whole.len() - bytes].to_vec()
    };
    let expected = expected();
    vec![
        (
            "as it should be",
            wav(&[fmt16(), data.clone()]),
            expected.clone(),
            WHOLE,
        ),
        ("its length is 0", riff(0), expected.clone(), MENDED),
        (
            "its length is all ones",
            riff(u32::MAX),
            expected.clone(),
            MENDED,
        ),
        (
            "its length is too small",
            riff(36),
            expected.clone(),
            MENDED,
        ),
        (
            "its length is too great",
            riff(5_000),
            expected.clone(),
            MENDED,
        ),
        (
            "its sound has 0 bytes",
            with_data(0),
            expected.clone(),
            MENDED,
        ),
        (
            "its sound's length is all ones",
            with_data(u32::MAX),
            expected.clone(),
            MENDED,
        ),
        (
            "its sound's length is too great",
            with_data(1_000),
            expected.clone(),
            MENDED,
        ),
        (
            "both are 0, as of a stream",
            file(b"RIFF", Some(0), &[fmt16(), sized(b"data", 0, &pcm(2))]),
            expected.clone(),
            MENDED,
        ),
        (
            "both are all ones, with a part before",
            file(
                b"RIFF",
                Some(u32::MAX),
                &[fmt16(), junk.clone(), sized(b"data", u32::MAX, &pcm(2))],
            ),
            expected.clone(),
            MENDED,
        ),
        (
            "its sound's length is too small",
            file(b"RIFF", Some(44), &[fmt16(), sized(b"data", 4, &pcm(2))]),
            expected.clone(),
            MENDED,
        ),
        (
            "it is cut off between frames",
            cut(8),
            expected[..12].to_vec(),
            MENDED,
        ),
        (
            "it is cut off within a frame",
            cut(9),
            expected[..11].to_vec(),
            MENDED,
        ),
        (
            "all but a frame is cut off",
            cut(30),
            expected[..1].to_vec(),
            MENDED,
        ),
        (
            "RF64",
            file(
                b"RF64",
                Some(u32::MAX),
                &[
                    ds64(32),
                    fmt16(),
                    sized(b"data", u32::MAX, &pcm(2)),
                    junk.clone(),
                ],
            ),
            expected.clone(),
            WHOLE,
        ),
        (
            "BW64",
            file(
                b"BW64",
                Some(u32::MAX),
                &[
                    ds64(32),
                    fmt16(),
                    sized(b"data", u32::MAX, &pcm(2)),
                    junk.clone(),
                ],
            ),
            expected.clone(),
            WHOLE,
        ),
        (
            "RF64 without what it is for",
            file(
                b"RF64",
                Some(u32::MAX),
                &[fmt16(), sized(b"data", u32::MAX, &pcm(2))],
            ),
            expected.clone(),
            MENDED,
        ),
        (
            "RF64 that was cut off",
            file(
                b"RF64",
                Some(u32::MAX),
                &[ds64(1 << 33), fmt16(), sized(b"data", u32::MAX, &pcm(2))],
            ),
            expected.clone(),
            MENDED,
        ),
        ("AIFF", aiff(16, 32), expected.clone(), WHOLE),
        (
            "AIFF without its number of frames",
            aiff(0, 32),
            expected.clone(),
            WHOLE,
        ),
        (
            "AIFF that was cut off",
            aiff(16, 20),
            expected[..10].to_vec(),
            MENDED,
        ),
    ]
}

fn parts() -> Vec<Case> {
    let data = || part(b"data", &pcm(2));
    let odd = |id: &[u8; 4]| part(id, &[7; 13]);
    let unpadded = |id: &[u8; 4]| [&id[..], &13_u32.to_le_bytes(), &[200; 13]].concat();
    let expected = expected();
    vec![
        (
            "parts that nobody knows",
            wav(&[odd(b"bext"), fmt16(), odd(b"xyz "), data(), odd(b"cue ")]),
            expected.clone(),
            WHOLE,
        ),
        (
            "a part of odd length that is not padded",
            wav(&[fmt16(), unpadded(b"junk"), data()]),
            expected.clone(),
            MENDED,
        ),
        (
            "two sounds",
            wav(&[fmt16(), data(), part(b"data", &[9; 8])]),
            expected.clone(),
            WHOLE,
        ),
        (
            "what it is comes after the sound",
            wav(&[data(), fmt16()]),
            expected.clone(),
            WHOLE,
        ),
        (
            "a part's length runs over the sound",
            wav(&[fmt16(), sized(b"LIST", 9_999, b"INFOabcd"), data()]),
            expected.clone(),
            MENDED,
        ),
        (
            "a part after the sound is cut off",
            wav(&[fmt16(), data(), sized(b"LIST", 500, b"INFO")]),
            expected.clone(),
            WHOLE,
        ),
        (
            "a tag after its end",
            [wav(&[fmt16(), data()]), [b"TAG", &[32; 125][..]].concat()].concat(),
            expected.clone(),
            MENDED,
        ),
        (
            "zeros after its end",
            [wav(&[fmt16(), data()]), vec![0; 512]].concat(),
            expected.clone(),
            MENDED,
        ),
        (
            "sound of odd length",
            wav(&[fmt(1, 1, 8, 1, &[]), part(b"data", &[128, 192, 64])]),
            vec![0.0, 0.5, -0.5],
            WHOLE,
        ),
        (
            "its head has an empty extension",
            wav(&[fmt(1, 1, 16, 2, &[0, 0]), data()]),
            expected.clone(),
            WHOLE,
        ),
        (
            "its head has a long extension",
            wav(&[fmt(1, 1, 16, 2, &[8, 0, 1, 2, 3, 4, 5, 6, 7, 8]), data()]),
            expected.clone(),
            WHOLE,
        ),
        (
            "bytes of a frame: 0",
            wav(&[fmt(1, 1, 16, 0, &[]), data()]),
            expected,
            MENDED,
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let sound = |format: Vec<u8>, bytes: &[u8]| wav(&[format, part(b"data", bytes)]);
    let floats: Vec<u8> = expected().iter().flat_map(|x| x.to_le_bytes()).collect();
    let doubles: Vec<u8> = expected()
        .iter()
        .flat_map(|x| f64::from(*x).to_le_bytes())
        .collect();
    let codes: Vec<u8> = (0..32).map(|n| (n * 7 + n / 3) % 16).collect();
    let ((a, heard_a), (b, heard_b)) = (ima(1_000, 20, &codes), ima(-8_000, 50, &codes));
    let ima_sound = [heard_a.clone(), heard_b].concat();
    let (c, heard_c) = ms(1, 40, [500, 300], &codes);
    let (d, heard_d) = ms(6, 90, [-500, -100], &codes);
    let ms_sound = [heard_c, heard_d].concat();
    let ima_fmt = || fmt(0x11, 1, 4, 20, &[2, 0, 33, 0]);
    let factors = [
        256_i16, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232,
    ];
    let factors: Vec<u8> = factors.iter().flat_map(|x| x.to_le_bytes()).collect();
    let ms_fmt = || fmt(2, 1, 4, 23, &[&[32, 0, 34, 0, 7, 0][..], &factors].concat());
    let u8s: Vec<f32> = [0, 255, 128, 1]
        .map(|x: i32| (x - 128) as f32 / 128.0)
        .to_vec();
    // The greatest and the least of either law, as the tables of G.711 have them.
    let a_law = vec![
        32_256.0 / 32_768.0,
        -32_256.0 / 32_768.0,
        8.0 / 32_768.0,
        -8.0 / 32_768.0,
    ];
    let mu_law = vec![-32_124.0 / 32_768.0, 32_124.0 / 32_768.0, 0.0, 0.0];
    vec![
        (
            "8 bits",
            sound(fmt(1, 1, 8, 1, &[]), &[0, 255, 128, 1]),
            u8s,
            WHOLE,
        ),
        (
            "24 bits",
            sound(fmt(1, 1, 24, 3, &[]), &pcm(3)),
            expected(),
            WHOLE,
        ),
        (
            "32 bits",
            sound(fmt(1, 1, 32, 4, &[]), &pcm(4)),
            expected(),
            WHOLE,
        ),
        (
            "24 bits in 32",
            sound(extensible(1, 32, 24, 4), &pcm(4)),
            expected(),
            WHOLE,
        ),
        (
            "24 bits in 32, plain",
            sound(fmt(1, 1, 24, 4, &[]), &pcm(4)),
            expected(),
            WHOLE,
        ),
        (
            "20 bits in 24",
            sound(extensible(1, 24, 20, 3), &pcm(3)),
            expected(),
            WHOLE,
        ),
        (
            "16 bits, extensible",
            sound(extensible(1, 16, 16, 2), &pcm(2)),
            expected(),
            WHOLE,
        ),
        (
            "floats",
            sound(fmt(3, 1, 32, 4, &[0, 0]), &floats),
            expected(),
            WHOLE,
        ),
        (
            "floats, extensible",
            sound(extensible(3, 32, 32, 4), &floats),
            expected(),
            WHOLE,
        ),
        (
            "doubles",
            sound(fmt(3, 1, 64, 8, &[]), &doubles),
            expected(),
            WHOLE,
        ),
        (
            "A-law",
            sound(fmt(6, 1, 8, 1, &[]), &[0xaa, 0x2a, 0xd5, 0x55]),
            a_law,
            WHOLE,
        ),
        (
            "mu-law",
            sound(fmt(7, 1, 8, 1, &[0, 0]), &[0x00, 0x80, 0xff, 0x7f]),
            mu_law,
            WHOLE,
        ),
        (
            "ADPCM, IMA",
            sound(ima_fmt(), &[&a[..], &b].concat()),
            ima_sound.clone(),
            WHOLE,
        ),
        (
            "ADPCM, IMA, as many frames as it says",
            wav(&[
                ima_fmt(),
                part(b"fact", &40_u32.to_le_bytes()),
                part(b"data", &[&a[..], &b].concat()),
            ]),
            ima_sound[..40].to_vec(),
            WHOLE,
        ),
        (
            "ADPCM, IMA, its last block cut off",
            sound(ima_fmt(), &[&a[..], &b[..12]].concat()),
            ima_sound[..50].to_vec(),
            WHOLE,
        ),
        (
            "ADPCM, Microsoft",
            sound(ms_fmt(), &[&c[..], &d].concat()),
            ms_sound,
            WHOLE,
        ),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

#[test]
fn files_as_they_occur_are_read_as_far_as_they_are_intact() {
    let cases = [sizes(), parts(), kinds()].concat();
    let (mut refused, mut wrong) = (0, 0);
    for (name, bytes, expected, mended) in &cases {
        match decode(bytes.clone()) {
            Err(why) => {
                println!("{name}: {why}");
                refused += 1;
            }
            Ok(read) => {
                let heard = read.sample.recorded().side(0);
                let near = heard.len() == expected.len()
                    && heard
                        .iter()
                        .zip(expected)
                        .all(|(a, b)| (a - b).abs() < 1e-6);
                if !near || read.mended.is_empty() == *mended {
                    println!("{name}: {heard:?}, not {expected:?}; {:?}", read.mended);
                    wrong += 1;
                }
            }
        }
    }
    println!(
        "{} irregular files: refused {refused}, played wrong {wrong}",
        cases.len()
    );
    assert!(cases.len() >= 40 && refused + wrong == 0);
}

#[test]
fn a_file_that_says_36_bytes_and_has_44_has_four_frames() {
    let text = "524946462400000057415645666d7420100000000100010080bb000000770100020010006461746108000000\
                00000040000000c0";
    let read = decode(hex(text)).unwrap();
    assert_eq!(read.sample.recorded().side(0), [0.0, 0.5, 0.0, -0.5]);
    assert_eq!(
        read.mended,
        ["the file has 44 bytes after its header (the header says 36)"]
    );
}

#[test]
fn tones_that_were_packed_are_tones_and_cut_off_ones_are_read_as_far_as_they_go() {
    // 1 kHz, half of full scale, 0.1 s at 48 kHz, made by LAME and by libvorbis.
    for (name, bytes) in [
        ("MP3", hex(include_str!("tests/tone.mp3.hex"))),
        ("Ogg Vorbis", hex(include_str!("tests/tone.ogg.hex"))),
    ] {
        let whole = decode(bytes.clone()).unwrap();
        let sound = whole.sample.recorded();
        assert_eq!(
            (sound.rate_hz(), sound.channels(), sound.frames()),
            (48_000, 1, 4_800),
            "{name}"
        );
        let (level, _) = tone_and_rest(&sound.side(0)[1_000..4_000], 1_000.0, 48_000.0);
        assert!((level - 0.5).abs() < 0.03, "{name}: {level}");
        assert!(whole.mended.is_empty(), "{name}: {:?}", whole.mended);
        // All of this Ogg file's sound is one page, which its checksum makes whole or nothing.
        let cut = decode(bytes[..bytes.len() - 60].to_vec());
        let frames = cut.map(|cut| cut.sample.recorded().frames());
        let some = frames
            .as_ref()
            .is_ok_and(|frames| (1..4_800).contains(frames));
        assert!(some || name == "Ogg Vorbis", "{name}: {frames:?}");
    }
}

#[test]
fn loops_and_root_note_of_the_file_are_taken_in() {
    let smpl = |way: u32, from: u32, last: u32| {
        let words = [
            0,
            0,
            20_833,
            69,
            1 << 31,
            0,
            0,
            1,
            0,
            0,
            way,
            from,
            last,
            0,
            0,
        ];
        part(
            b"smpl",
            &words
                .iter()
                .flat_map(|word: &u32| word.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
    };
    for (number, way) in [Way::Forwards, Way::ToAndFro, Way::Backwards]
        .into_iter()
        .enumerate()
    {
        let bytes = wav(&[fmt16(), part(b"data", &pcm(2)), smpl(number as u32, 4, 11)]);
        let read = decode(bytes).unwrap();
        assert_eq!(
            read.sample.looped(),
            Some(Loop {
                from: 4,
                to: 12,
                way
            })
        );
        assert_eq!(read.sample.root(), Some(69.5));
        // The loop stays where it is when the sound is converted.
        let converted = at_rate(read.sample, 96_000).unwrap();
        assert_eq!(
            converted.looped(),
            Some(Loop {
                from: 4,
                to: 12,
                way
            })
        );
        assert_eq!(
            (
                converted.at_rate(96_000).frames(),
                converted.recorded().frames()
            ),
            (32, 16)
        );
    }
    let beyond = decode(wav(&[fmt16(), part(b"data", &pcm(2)), smpl(0, 4, 16)])).unwrap();
    assert!(beyond.sample.looped().is_none() && beyond.mended.len() == 1);
}

#[test]
fn what_cannot_be_read_says_why_and_nothing_panics() {
    let data = || part(b"data", &pcm(2));
    for (bytes, what) in [
        (vec![], "cannot be read"),
        (b"no sound at all, just a text".to_vec(), "cannot be read"),
        (wav(&[data()]), "\"fmt \" chunk is missing"),
        (wav(&[fmt16()]), "\"data\" chunk is missing"),
        (wav(&[part(b"fmt ", &[1, 0, 1]), data()]), "truncated"),
        (wav(&[fmt(0x4321, 1, 16, 2, &[]), data()]), "0x4321"),
        (wav(&[fmt(1, 0, 16, 2, &[]), data()]), "0 channels"),
        (wav(&[fmt(1, 60_000, 16, 2, &[]), data()]), "60000 channels"),
        (wav(&[fmt(1, 1, 64, 8, &[]), data()]), "64 bits"),
        (
            wav(&[fmt(0x11, 1, 4, 3, &[2, 0, 1, 0]), data()]),
            "a block has 3 bytes",
        ),
        (wav(&[fmt16(), part(b"data", &[1])]), "no sound"),
    ] {
        let why = decode(bytes).unwrap_err();
        assert!(why.contains(what) && !why.contains('\n'), "{why}");
    }
    // Every file of this page with one byte changed, and cut off anywhere.
    let mut chance = 7_u32;
    for (name, bytes, ..) in [sizes(), parts(), kinds()].concat() {
        for at in 0..bytes.len().min(80) {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut changed = bytes.clone();
            changed[at] ^= (chance >> 24) as u8 | 1;
            drop(decode(changed));
            drop(decode(bytes[..at].to_vec()));
        }
        assert!(!name.is_empty());
    }
}
