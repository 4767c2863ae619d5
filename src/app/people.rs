//! The people who sign in, and the page's encryption.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::StartError;
use crate::access::{People, Settings};
use crate::config::{Config, Console};
use crate::gateway::audit_writer::AuditWriter;
use crate::grpc::tls::{Acceptor, Identity, SelfSigned};
use crate::people::{Limits, PasswordRules, lockout};
use crate::store::{Location, Store};

/// What the site has set about its people.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    let people = &config.people;
    Settings {
        limits: Limits {
            idle: people.idle(),
            absolute: people.absolute(),
        },
        rules: PasswordRules {
            least: people.password_least as usize,
            ..PasswordRules::default()
        },
        lockout: lockout::Policy::default(),
        totp_for: people.totp_for.clone(),
        issuer: people.site.clone(),
        audit_kept: config.audit.kept(),
    }
}

/// The people, where the page asks who somebody is.
pub(super) fn people(config: &Config, store: &Store, audit: Arc<AuditWriter>) -> Option<People> {
    if !config.people.sign_in {
        warn!("whoever reaches the page sees and changes everything: people.sign_in is false");
        return None;
    }
    let keep = move |record| audit.keep(record);
    Some(People::new(store.clone(), settings(config), keep))
}

/// What the page is encrypted with: the certificate that is named, or one of its own making where others than this
/// machine itself reach it.
pub(super) fn tls(console: &Console, beside: &Location) -> Result<Option<Acceptor>, StartError> {
    let identity = match &console.tls {
        Some(tls) => Identity {
            cert: tls.cert.clone(),
            key: tls.key.clone(),
        },
        None if console.listen.ip().is_loopback() => return Ok(None),
        None => {
            let folder = folder(beside);
            let names = [console.listen.ip().to_string(), "localhost".to_owned()];
            let names = names.into_iter().chain(console.hosts.iter().cloned());
            let made = SelfSigned::at(&folder, names.collect()).map_err(StartError::Tls)?;
            let digest = Sha256::digest(&made.certificate);
            let digest: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
            info!(
                sha256 = digest.join(":"),
                file = %made.identity.cert.display(),
                "the page is encrypted with a certificate of its own making; compare its fingerprint in the browser, or \
                 name one of your own in [console.tls]"
            );
            made.identity
        }
    };
    Acceptor::for_browsers(identity)
        .map(Some)
        .map_err(StartError::Tls)
}

/// Beside the records, or in the working folder's `data`.
fn folder(beside: &Location) -> PathBuf {
    match beside {
        Location::Sqlite(file) => file.parent().unwrap_or(Path::new(".")).to_owned(),
        Location::Postgres(_) => "data".into(),
    }
}
