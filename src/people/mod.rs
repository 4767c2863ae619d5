//! Who works with the gateway and what they may do: accounts, roles and their rights, passwords, authenticators,
//! lock-out, sessions. Decisions only: [`crate::access`] brings the clock, the random generator and the records.
//!
//! A right is a role, an action and how far it reaches; they stand in one table ([`right::may`]) that everything asks.

pub mod account;
pub mod lockout;
pub mod password;
pub mod right;
pub mod session;
pub mod totp;

pub use account::{Account, BadAccount, Profile, UserName};
pub use lockout::{Attempt, Lockout};
pub use password::{PasswordFault, PasswordHash, PasswordRules};
pub use right::{Action, Rights, Role, Scope};
pub use session::{Limits, Session, Token, TokenDigest};
