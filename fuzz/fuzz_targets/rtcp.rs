//! See `rtcp` of `xinqiao::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| xinqiao::fuzzing::rtcp(bytes));
