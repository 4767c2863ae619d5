//! A real PostgreSQL server for tests and measurements: in a temporary folder, on a unix socket, gone with the process
//! that started it, however that ends.
// Each of those who include this needs a part of it.
#![allow(dead_code)]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

/// How long a server may take to start, on a busy machine.
const START: Duration = Duration::from_mins(1);
/// Where Debian puts the server's programs, one folder a version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A role that needs the password `secret`; every other one is let in without.
pub const GUARDED: &str = "guarded";

/// Whether commits reach the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As in operation.
    Real,
    /// Not at all: nothing outlives the machine anyway, and it is faster.
    None,
}

/// A running server.
pub struct Postgres {
    folder: PathBuf,
    programs: PathBuf,
    durability: Durability,
    /// Ends the server when it is closed, and the folder with it.
    keeper: Option<(Child, ChildStdin)>,
    databases: AtomicU32,
}

impl Postgres {
    /// Starts one; `None`, and a sentence, where PostgreSQL is not installed.
    #[must_use]
    pub fn start(durability: Durability) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("skipped: PostgreSQL is not installed (apt-get install postgresql)");
            return None;
        };
        // The server ends itself and its folder; a TempDir could not, as its user is another one.
        let folder = tempfile::Builder::new()
            .prefix("xinqiao-pg")
            .tempdir()
            .expect("a folder")
            .keep();
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(&folder).status();
            assert!(
                owned.expect("chown").success(),
                "the user postgres is missing"
            );
        }
        let mut server = Self {
            folder,
            programs,
            durability,
            keeper: None,
            databases: AtomicU32::new(0),
        };
        // An order of words that is not that of bytes, as on a user's server.
        server.run(
            "initdb",
            &[
                "--pgdata=data",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--locale-provider=icu",
                "--icu-locale=zh",
                "--no-sync",
                "--no-instructions",
            ],
        );
        let rules = format!("local all {GUARDED} scram-sha-256\nlocal all all trust\n");
        server.write("data/pg_hba.conf", &rules);
        server.launch();
        Some(server)
    }

    /// Starts it again after [`Postgres::kill`].
    pub fn launch(&mut self) {
        let fsync = match self.durability {
            Durability::Real => "on",
            Durability::None => "off",
        };
        // The shell waits for the end of its input, which comes with the end of this process, even by kill -9. What is
        // left of a server that was killed may hold the folder for a moment.
        let folder = self.folder.display();
        let script = format!(
            "while :; do \
               {}/postgres -D data -k {folder} -c listen_addresses= -c max_connections=300 -c fsync={fsync} \
                 -c full_page_writes={fsync} -c timezone=UTC >>log 2>&1 & server=$!; \
               sleep 0.3; jobs >jobs; grep -q Running jobs && break; \
             done; \
             read line; [ \"$line\" = keep ] && {{ wait $server; exit; }}; kill -QUIT $server; wait $server; cd /; rm -rf {folder}",
            self.programs.display(),
        );
        let mut keeper = self
            .as_its_user("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let input = keeper.stdin.take().expect("piped");
        self.keeper = Some((keeper, input));
        let begun = Instant::now();
        while !self.answers() {
            assert!(
                begun.elapsed() < START,
                "PostgreSQL does not start: {}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server dies in the middle of whatever it does (kill -9); the folder stays.
    pub fn kill(&mut self) {
        let pid = fs::read_to_string(self.folder.join("data/postmaster.pid"))
            .expect("a running server's number");
        let pid = pid.lines().next().expect("a line");
        let killed = Command::new("kill").args(["-KILL", pid]).status();
        assert!(killed.expect("kill").success());
        if let Some((mut keeper, mut input)) = self.keeper.take() {
            let _ = io::Write::write_all(&mut input, b"keep\n");
            let _ = keeper.wait();
        }
    }

    fn answers(&self) -> bool {
        let program = self.programs.join("pg_isready");
        let answer = self
            .as_its_user(program.to_str().expect("plain"))
            .arg("-h")
            .arg(&self.folder)
            .output();
        answer.is_ok_and(|answer| answer.status.success())
    }

    /// A new, empty database.
    pub async fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name}")).await;
        self.url("postgres", &name)
    }

    /// How a user reaches a database.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        format!(
            "postgres://{user}@localhost/{database}?host={}",
            self.folder.display()
        )
    }

    /// Runs statements as the administrator.
    pub async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.url("postgres", "postgres"))
            .await
            .expect("connected");
        sqlx::raw_sql(sql)
            .execute(&mut connection)
            .await
            .expect("executed");
        let _ = connection.close().await;
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let output = self
            .as_its_user(program.to_str().expect("plain"))
            .args(arguments)
            .output()
            .expect("PostgreSQL's programs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        fs::write(&path, text).expect("written");
        // Also for the server's own user, when this is root.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("allowed");
    }

    /// PostgreSQL refuses to run as root.
    fn as_its_user(&self, program: &str) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args([
                "--reuid=postgres",
                "--regid=postgres",
                "--init-groups",
                program,
            ]);
            command
        } else {
            Command::new(program)
        };
        command
            .current_dir(&self.folder)
            .env_remove("PGPASSWORD")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some((mut keeper, input)) = self.keeper.take() {
            drop(input);
            let _ = keeper.wait();
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The newest server that is installed.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .filter(|(_, programs): &(u32, PathBuf)| Path::new(programs).join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, programs)| programs)
}

/// The server that the tests of this process share.
pub fn shared() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    SERVER
        .get_or_init(|| Postgres::start(Durability::None))
        .as_ref()
}

/// Where one test keeps its records.
pub struct Site {
    folder: tempfile::TempDir,
    /// The gateway's database and the ticketing backend's, on a server.
    databases: Option<[String; 2]>,
}

impl Site {
    /// In files of a folder of its own.
    #[must_use]
    pub fn of_files() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            databases: None,
        }
    }

    /// In databases of its own; `None` where PostgreSQL is not installed.
    pub async fn of_a_server() -> Option<Self> {
        let server = tokio::task::spawn_blocking(shared)
            .await
            .expect("started")?;
        Some(Self {
            databases: Some([server.database().await, server.database().await]),
            ..Self::of_files()
        })
    }

    /// A folder for what is not in the records.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The gateway's records.
    #[must_use]
    pub fn store(&self) -> String {
        self.at(0, "gateway.db")
    }

    /// The ticketing backend's records.
    #[must_use]
    pub fn ticketing(&self) -> String {
        self.at(1, "ticketing.db")
    }

    fn at(&self, database: usize, file: &str) -> String {
        match &self.databases {
            Some(databases) => databases[database].clone(),
            None => format!("sqlite:{}", self.folder.path().join(file).display()),
        }
    }
}

/// Runs each of the named tests, `async fn NAME(site: Site)`, on both engines.
#[allow(unused_macros)]
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(super::Site::of_files()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(site) = super::Site::of_a_server().await {
                    super::$name(site).await;
                }
            }
        }
    )+ };
}
#[allow(unused_imports)]
pub(crate) use on_both_engines;
