//! A disk that fills up: a small tmpfs.
// Each of those who include this needs a part of it.
#![allow(dead_code)]

use std::fs::{File, remove_file};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A mounted tmpfs; it goes with the test.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, and a sentence, where this user may not mount one.
    #[must_use]
    pub fn mount(megabytes: u32) -> Option<Self> {
        let disk = Self(tempfile::tempdir().expect("a folder"));
        let size = format!("size={megabytes}m");
        if !disk.run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"]) {
            println!("skipped: this user may not mount a tmpfs");
            return None;
        }
        Some(disk)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn enlarge(&self, megabytes: u32) {
        let options = format!("remount,size={megabytes}m");
        assert!(self.run("mount", &["-o", &options]));
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut ballast = File::create(self.path().join("ballast")).expect("a file");
        while ballast.write_all(&[0; 4_096]).is_ok() {}
    }

    /// Takes that back.
    pub fn relieve(&self) {
        remove_file(self.path().join("ballast")).expect("removed");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = Command::new(program);
        let done = command.args(arguments).arg(self.path()).output();
        done.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.run("umount", &["--lazy"]);
    }
}
