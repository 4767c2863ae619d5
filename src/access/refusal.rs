//! Why something is refused, with its verdict in one place.

use std::fmt;
use std::time::Duration;

use super::Must;
use crate::people::{BadAccount, PasswordFault};
use crate::store::StoreError;

/// Why people are refused something.
#[derive(Debug)]
pub enum Refusal {
    /// Nobody is signed in, or not any more.
    SignIn,
    /// Name, password and code do not belong together, whichever it is.
    Wrong,
    /// Too many wrong attempts.
    LockedOut {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many at once.
    Busy,
    /// Something has to be done first.
    MustFirst(Must),
    /// The roles do not allow it.
    MayNot,
    /// There is no such account.
    NoAccount,
    /// There is no such session.
    NoSession,
    /// There is an account of that name.
    NameTaken,
    /// An account cannot be like that.
    Bad(BadAccount),
    /// The password is none to take.
    Password(PasswordFault),
    /// Somebody else has changed the account since it was read.
    ChangedMeanwhile,
    /// Nobody changes his own account there.
    OwnAccount,
    /// Nobody would be left who can give roles.
    LastAdministrator,
    /// There is no proposed authenticator.
    NotProposed,
    /// The code is none of the proposed authenticator.
    WrongCode,
    /// The site demands an authenticator of this account.
    TotpRequired,
    /// What names the page did not come from an earlier answer.
    BadPage,
    /// The records cannot be read or written now.
    Unreadable(StoreError),
}

impl Refusal {
    /// Its stable name, as in people.proto.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::SignIn => "SIGN_IN",
            Self::Wrong => "WRONG",
            Self::LockedOut { .. } => "LOCKED_OUT",
            Self::Busy => "BUSY",
            Self::MustFirst(_) => "MUST_FIRST",
            Self::MayNot => "MAY_NOT",
            Self::NoAccount => "NO_ACCOUNT",
            Self::NoSession => "NO_SESSION",
            Self::NameTaken => "NAME_TAKEN",
            Self::Bad(BadAccount::Name) => "BAD_NAME",
            Self::Bad(BadAccount::TooLong) => "TOO_LONG",
            Self::Bad(BadAccount::Station) => "BAD_STATION",
            Self::Bad(BadAccount::RolesApart) => "ROLES_APART",
            Self::Password(fault) => match fault {
                PasswordFault::TooShort { .. } => "TOO_SHORT",
                PasswordFault::TooLong { .. } => "TOO_LONG",
                PasswordFault::TooPlain { .. } => "TOO_PLAIN",
                PasswordFault::ContainsName => "CONTAINS_NAME",
                PasswordFault::Common => "COMMON",
                PasswordFault::UsedBefore { .. } => "USED_BEFORE",
            },
            Self::ChangedMeanwhile => "CHANGED_MEANWHILE",
            Self::OwnAccount => "OWN_ACCOUNT",
            Self::LastAdministrator => "LAST_ADMINISTRATOR",
            Self::NotProposed => "NOT_PROPOSED",
            Self::WrongCode => "WRONG_CODE",
            Self::TotpRequired => "TOTP_REQUIRED",
            Self::BadPage => "BAD_PAGE",
            Self::Unreadable(_) => "UNREADABLE",
        }
    }

    /// The numbers that belong into its sentence.
    #[must_use]
    pub fn numbers(&self) -> Vec<(&'static str, u64)> {
        match self {
            Self::LockedOut { retry_after } => {
                vec![("retry_after_s", retry_after.as_secs().max(1))]
            }
            Self::Password(
                PasswordFault::TooShort { least } | PasswordFault::TooPlain { least },
            ) => vec![("least", *least as u64)],
            Self::Password(PasswordFault::TooLong { most }) => vec![("most", *most as u64)],
            Self::Password(PasswordFault::UsedBefore { last }) => vec![("last", *last as u64)],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SignIn => f.write_str("nobody is signed in; sign in first"),
            Self::Wrong => f.write_str("name, password and code do not belong together"),
            Self::LockedOut { retry_after } => write!(
                f,
                "too many wrong attempts; try again in {} s, or have an administrator reset the password",
                retry_after.as_secs().max(1)
            ),
            Self::Busy => f.write_str("too many sign in at once; try again in some seconds"),
            Self::MustFirst(Must::ChangePassword) => {
                f.write_str("replace the password that you were given first")
            }
            Self::MustFirst(Must::EnrolTotp) => f.write_str("enrol an authenticator first"),
            Self::MayNot => f.write_str("none of your roles allows this"),
            Self::NoAccount => f.write_str("there is no account of this name"),
            Self::NoSession => f.write_str("there is no such session, or it has ended"),
            Self::NameTaken => f.write_str("there is an account of this name; take another"),
            Self::Bad(bad) => bad.fmt(f),
            Self::Password(fault) => fault.fmt(f),
            Self::ChangedMeanwhile => {
                f.write_str("somebody else has changed the account meanwhile; read it again")
            }
            Self::OwnAccount => {
                f.write_str("nobody changes his own account here; ask another administrator")
            }
            Self::LastAdministrator => f.write_str(
                "nobody would be left who can give roles; give another account that role first",
            ),
            Self::NotProposed => {
                f.write_str("no authenticator is being enrolled; begin with its secret")
            }
            Self::WrongCode => {
                f.write_str("the code is none of this authenticator's; look at its clock")
            }
            Self::TotpRequired => f.write_str("this site demands an authenticator of this account"),
            Self::BadPage => {
                f.write_str("page_token did not come from an earlier answer; begin without one")
            }
            Self::Unreadable(_) => {
                f.write_str("the records cannot be read or written now; try again later")
            }
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the accounts cannot be read or written");
        Self::Unreadable(error)
    }
}

impl From<BadAccount> for Refusal {
    fn from(bad: BadAccount) -> Self {
        Self::Bad(bad)
    }
}

impl From<PasswordFault> for Refusal {
    fn from(fault: PasswordFault) -> Self {
        Self::Password(fault)
    }
}
