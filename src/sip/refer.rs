//! Whom a transfer leads to: Refer-To (RFC 3515) and Replaces (RFC 3891).

use std::fmt;

use super::address::{Address, Scheme, Uri};

/// The dialog whose place an INVITE takes, as the machine that has it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// Its tag on the machine that is asked.
    pub to_tag: String,
    /// Its tag on the other machine.
    pub from_tag: String,
    /// Only if it has not been answered.
    pub early_only: bool,
}

impl Replaces {
    /// Reads the header's value; `None` when it lacks one of its three parts.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().filter(|id| !id.is_empty())?.to_owned();
        let (mut to_tag, mut from_tag, mut early_only) = (None, None, false);
        for part in parts {
            match part.split_once('=') {
                Some((name, tag)) if name.trim().eq_ignore_ascii_case("to-tag") => {
                    to_tag = Some(tag.trim().to_owned());
                }
                Some((name, tag)) if name.trim().eq_ignore_ascii_case("from-tag") => {
                    from_tag = Some(tag.trim().to_owned());
                }
                None if part.eq_ignore_ascii_case("early-only") => early_only = true,
                _ => {}
            }
        }
        Some(Self {
            call_id,
            to_tag: to_tag?,
            from_tag: from_tag?,
            early_only,
        })
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call_id,
            to_tag,
            from_tag,
            early_only,
        } = self;
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}")?;
        if *early_only {
            f.write_str(";early-only")?;
        }
        Ok(())
    }
}

/// Whom to invite, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// A `sip:` or `sips:` URI without headers.
    pub uri: String,
    /// The dialog there that the INVITE takes over, in an attended transfer.
    pub replaces: Option<Replaces>,
    /// Who referred, as the Referred-By header says it (RFC 3892).
    pub referred_by: Option<String>,
}

impl Target {
    /// Simply that URI.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            ..Self::default()
        }
    }

    /// Reads a Refer-To header's value; `None` for what is no `sip:` or `sips:` URI, and for what is to be sent there by
    /// another method than INVITE.
    ///
    /// Of the headers that the URI carries only Replaces is taken: whoever refers does not write our INVITE.
    #[must_use]
    pub fn from_refer_to(value: &str, referred_by: Option<&str>) -> Option<Self> {
        let uri = Uri::parse(Address::parse(value)?.uri)?;
        let method = uri.parameter("method");
        if uri.scheme == Scheme::Tel
            || method.is_some_and(|method| !method.eq_ignore_ascii_case("INVITE"))
        {
            return None;
        }
        let replaces = uri
            .headers()
            .find(|(name, _)| name.eq_ignore_ascii_case("replaces"));
        let replaces = match replaces {
            None => None,
            // A transfer to a dialog that cannot be named is no blind transfer to whoever is there.
            Some((_, value)) => Some(Replaces::parse(&value)?),
        };
        Some(Self {
            uri: uri.without(&["method"]),
            replaces,
            referred_by: referred_by.map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attended_transfer_names_the_dialog_that_is_taken_over() {
        let value = "<sip:1002@192.0.2.9:5062;transport=tcp?Replaces=abc%40host%3Bto-tag%3D7a%3Bfrom-tag%3D8b&Subject=hi>;x=1";
        let target = Target::from_refer_to(value, Some("<sip:op@192.0.2.5>")).expect("a target");
        assert_eq!(target.uri, "sip:1002@192.0.2.9:5062;transport=tcp");
        let replaces = target.replaces.expect("a dialog");
        assert_eq!(replaces.to_string(), "abc@host;to-tag=7a;from-tag=8b");
        assert_eq!(target.referred_by.as_deref(), Some("<sip:op@192.0.2.5>"));
    }

    #[test]
    fn a_blind_transfer_is_a_plain_uri() {
        for value in [
            "<sip:1002@192.0.2.9>",
            "sip:1002@192.0.2.9;x=y",
            "\"Wang\" <sip:1002@192.0.2.9>",
            "\"Li <S>\" <sip:1002@192.0.2.9>;x=\"<y>\"",
            "<sip:1002@192.0.2.9;method=INVITE>",
            "<SIP:1002@192.0.2.9?Subject=hi>",
        ] {
            assert_eq!(
                Target::from_refer_to(value, None),
                Some(Target::new("sip:1002@192.0.2.9")),
                "{value}"
            );
        }
    }

    #[test]
    fn what_cannot_be_invited_is_no_target() {
        for value in [
            "<tel:10086>",
            "<http://192.0.2.9/>",
            "sip:",
            "",
            "<",
            "><",
            "<sip:a@b?Replaces=x>",
            "<sip:a b@c>",
            "<sip:a@b;method=BYE>",
            "\"open <sip:a@b>",
        ] {
            assert_eq!(Target::from_refer_to(value, None), None, "{value}");
        }
        let smuggled = "<sip:a@b?Replaces=x%0d%0aEvil%3A1%3Bto-tag%3D1%3Bfrom-tag%3D2>";
        let target = Target::from_refer_to(smuggled, None).expect("a target");
        assert!(
            target
                .replaces
                .is_some_and(|replaces| !replaces.to_string().contains(['\r', '\n']))
        );
    }

    #[test]
    fn replaces_needs_both_tags_and_may_be_for_early_dialogs_only() {
        assert_eq!(Replaces::parse("a;to-tag=1"), None);
        assert_eq!(Replaces::parse(";to-tag=1;from-tag=2"), None);
        let early = Replaces::parse("a ; from-tag=2;to-tag=1 ;early-only").expect("complete");
        assert!(early.early_only);
        assert_eq!(early.to_string(), "a;to-tag=1;from-tag=2;early-only");
    }
}
