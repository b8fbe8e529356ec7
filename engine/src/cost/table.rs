//! The cost of a module of each type on the reference machine (a virtual one, two cores of an AMD EPYC). `./bench.sh
//! speed modules` prints the table anew.

/// Nanoseconds per frame: for one channel, for up to 8 side by side, for up to 16.
pub const TABLE: [(&str, [f64; 3]); 48] = [
    ("sine", [5.7, 13.6, 12.7]),
    ("saw", [7.0, 15.6, 18.3]),
    ("noise", [2.4, 6.9, 5.3]),
    ("adsr", [2.3, 7.4, 7.6]),
    ("filter", [3.7, 8.0, 6.9]),
    ("vca", [1.2, 5.6, 3.5]),
    ("delay", [6.1, 61.1, 125.4]),
    ("mixer", [2.5, 7.0, 6.6]),
    ("lfo", [7.2, 11.2, 12.2]),
    ("pan", [1.4, 5.8, 4.2]),
    ("crossfade", [3.1, 7.2, 6.7]),
    ("math", [2.2, 6.6, 9.8]),
    ("sample_hold", [3.7, 7.5, 11.7]),
    ("slew", [4.8, 9.3, 10.8]),
    ("quantizer", [21.3, 26.7, 35.2]),
    ("follower", [3.8, 8.1, 9.7]),
    ("ar", [5.6, 10.9, 12.4]),
    ("merge", [1.8, 13.3, 50.9]),
    ("split", [2.9, 4.5, 6.9]),
    ("sum", [1.5, 3.8, 3.8]),
    ("spread", [1.6, 7.7, 5.0]),
    ("clock", [13.1, 72.3, 241.4]),
    ("seq", [7.1, 52.6, 112.9]),
    ("midi_in", [1.1, 8.7, 10.8]),
    ("ladder", [22.1, 19.6, 20.8]),
    ("svf", [4.0, 8.2, 7.5]),
    ("acid", [60.9, 67.6, 92.4]),
    ("distortion", [113.6, 157.5, 257.4]),
    ("eq", [20.6, 22.1, 29.6]),
    ("phaser", [45.5, 61.1, 75.2]),
    ("chorus", [41.5, 250.8, 499.2]),
    ("pingpong", [22.9, 22.5, 22.2]),
    ("reverb", [41.3, 42.0, 42.1]),
    ("compressor", [27.8, 30.7, 41.7]),
    ("limiter", [8.2, 60.3, 122.7]),
    ("square", [12.0, 16.8, 31.8]),
    ("triangle", [9.8, 20.8, 34.1]),
    ("supersaw", [48.1, 66.1, 117.3]),
    ("kick", [31.5, 42.6, 54.4]),
    ("snare", [17.1, 19.2, 30.6]),
    ("hat", [114.9, 105.3, 225.7]),
    ("clap", [8.2, 14.3, 18.6]),
    ("fm", [80.6, 84.1, 111.1]),
    ("karplus", [16.9, 57.5, 97.0]),
    ("wavetable", [57.2, 200.1, 273.8]),
    ("sampler", [60.5, 647.8, 1647.1]),
    ("granular", [96.9, 97.8, 97.7]),
    ("out", [0.5, 0.5, 0.5]),
];
/// Additional nanoseconds per frame for modules that are rendered frame by frame.
pub const FRAME_CALL_NS: f64 = 46.6;
/// Nanoseconds of the engine's last stage: per block, and per sample.
pub const LAST_BLOCK_NS: f64 = 193.6;
pub const LAST_SAMPLE_NS: f64 = 1.2;
