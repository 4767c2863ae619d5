//! What a connection's UUID says: which call it belongs to, and in the form of version 8 also the numbers.
//!
//! `KKKKKKKK-KKKK-8DDD-8DDD-NNNNNNNNNNNN` (RFC 9562 §5.8): twelve digits of any kind that tell the call from others, six
//! with the number that was called, twelve with the number of who speaks on this connection, both filled from the left
//! with `f`. The two connections of a call differ in the last part only. Any other UUID is the same for both and tells
//! no numbers.

use crate::private::Private;

/// The digits of a UUID.
const DIGITS: usize = 32;
/// Where the number of who speaks begins.
const SPEAKER: usize = 20;

/// A connection's UUID.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Id {
    /// The same for both connections of a call; holds nothing of who speaks.
    pub call: String,
    /// The number that was called.
    pub called: Option<String>,
    /// The number of who speaks.
    pub speaker: Option<Private<String>>,
}

impl Id {
    pub(crate) fn read(uuid: [u8; 16]) -> Self {
        let digits = format!("{:032x}", u128::from_be_bytes(uuid));
        let of_version_8 = digits[12..].starts_with('8') && digits[16..].starts_with('8');
        if !of_version_8 {
            return Self {
                call: digits,
                called: None,
                speaker: None,
            };
        }
        let called = [&digits[13..16], &digits[17..SPEAKER]].concat();
        Self {
            call: digits[..SPEAKER].to_owned(),
            called: number(&called),
            speaker: number(&digits[SPEAKER..DIGITS]).map(Private::new),
        }
    }
}

/// The number behind the filling; `None` when there is none, or something else stands there.
fn number(field: &str) -> Option<String> {
    let number = field.trim_start_matches('f');
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| number.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uuid: &str) -> Id {
        let digits: String = uuid.chars().filter(|digit| *digit != '-').collect();
        let octets = u128::from_str_radix(&digits, 16).expect("hexadecimal");
        Id::read(octets.to_be_bytes())
    }

    #[test]
    fn version_8_tells_the_numbers_and_pairs_by_the_rest() {
        let caller = read("17639012-0042-8f12-8345-f13912345678");
        assert_eq!(caller.called.as_deref(), Some("12345"));
        let number = caller
            .speaker
            .as_ref()
            .map(|number| number.reveal().as_str());
        assert_eq!(number, Some("13912345678"));
        let operator = read("17639012-0042-8f12-8345-ffffffff1007");
        assert_eq!(operator.call, caller.call);
        assert!(!caller.call.contains("139123"));
        let number = operator
            .speaker
            .as_ref()
            .map(|number| number.reveal().as_str());
        assert_eq!(number, Some("1007"));
        assert_ne!(
            read("17639012-0043-8f12-8345-ffffffff1007").call,
            caller.call
        );
        // A withheld number, and a number that is none.
        let withheld = read("17639012-0042-8fff-8fff-ffffffffffff");
        assert!(withheld.speaker.is_none() && withheld.called.is_none());
        assert!(
            read("17639012-0042-8fff-8fff-f1391234567a")
                .speaker
                .is_none()
        );
    }

    #[test]
    fn any_other_uuid_is_one_calls_and_tells_nothing() {
        let random = read("40325ec2-5efd-4bd3-805f-53576e581d13");
        assert_eq!(random.call, "40325ec25efd4bd3805f53576e581d13");
        assert!(random.speaker.is_none() && random.called.is_none());
    }
}
