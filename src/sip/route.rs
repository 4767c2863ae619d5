//! Which called number goes to whom, and which addresses a trunk has.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use regex::Regex;

/// A network of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |mine: u128, other: u128, width: u8| {
            (mine ^ other)
                .checked_shr(u32::from(width - self.bits))
                .unwrap_or(0)
                == 0
        };
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                same(u32::from(mine).into(), u32::from(other).into(), 32)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => same(mine.into(), other.into(), 128),
            _ => false,
        }
    }
}

/// What is no network of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrError(String);

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no network; write e.g. 192.0.2.0/24 or 2001:db8::5",
            self.0
        )
    }
}

impl std::error::Error for CidrError {}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let error = || CidrError(text.to_owned());
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let network: IpAddr = ip.trim().parse().map_err(|_| error())?;
        let width = if network.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.trim().parse().map_err(|_| error())?,
            None => width,
        };
        (bits <= width)
            .then_some(Self { network, bits })
            .ok_or_else(error)
    }
}

/// Which numbers a rule is for.
#[derive(Clone, Debug)]
pub enum Called {
    /// This one.
    Exactly(String),
    /// Those that begin so; all of them when it is empty.
    Prefix(String),
    /// Those that match as a whole.
    Pattern(Regex),
}

impl Called {
    /// A pattern that must match the whole number.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn pattern(text: &str) -> Result<Self, String> {
        Regex::new(&format!("^(?:{text})$"))
            .map(Self::Pattern)
            .map_err(|error| error.to_string())
    }

    fn matches(&self, number: &str) -> bool {
        match self {
            Self::Exactly(called) => called == number,
            Self::Prefix(prefix) => number.starts_with(prefix.as_str()),
            Self::Pattern(pattern) => pattern.is_match(number),
        }
    }
}

/// Where calls go that a rule is for.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The numbers.
    pub called: Called,
    /// Only calls that came over this trunk.
    pub trunk: Option<String>,
    /// The SIP URIs to try, in order.
    pub to: Vec<String>,
}

/// The rules in their order.
#[derive(Clone, Debug, Default)]
pub struct Routes(pub Vec<Rule>);

impl Routes {
    /// Where a call goes: what the first rule says that fits.
    #[must_use]
    pub fn choose(&self, called: &str, trunk: Option<&str>) -> Option<&[String]> {
        self.0
            .iter()
            .find(|rule| {
                rule.called.matches(called)
                    && rule
                        .trunk
                        .as_deref()
                        .is_none_or(|wanted| Some(wanted) == trunk)
            })
            .map(|rule| rule.to.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect(text)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.9/29", "192.0.2.15", "192.0.2.16"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "127.0.0.1"),
            ("192.0.2.0/24", "::ffff:192.0.2.4", "::ffff:192.0.3.4"),
        ] {
            assert!(cidr(network).contains(ip(inside)), "{network} {inside}");
            assert!(!cidr(network).contains(ip(outside)), "{network} {outside}");
        }
        for wrong in [
            "",
            "192.0.2.0/33",
            "192.0.2.0/-1",
            "192.0.2/24",
            "::/129",
            "host",
            "1.2.3.4/",
        ] {
            let said = wrong.parse::<Cidr>().expect_err(wrong).to_string();
            assert!(
                said.contains(wrong) && said.contains("192.0.2.0/24"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |called, trunk: Option<&str>, to: &str| Rule {
            called,
            trunk: trunk.map(str::to_owned),
            to: vec![to.to_owned()],
        };
        let routes = Routes(vec![
            rule(Called::Exactly("12345".to_owned()), Some("mobile"), "a"),
            rule(Called::Exactly("12345".to_owned()), None, "b"),
            rule(Called::pattern(r"05\d{2}12345").expect("sound"), None, "c"),
            rule(Called::Prefix("123".to_owned()), None, "d"),
        ]);
        for (called, trunk, to) in [
            ("12345", Some("mobile"), Some("a")),
            ("12345", Some("fixed"), Some("b")),
            ("12345", None, Some("b")),
            ("053512345", None, Some("c")),
            ("0053512345", None, None),
            ("12399", None, Some("d")),
            ("", None, None),
        ] {
            let chosen = routes.choose(called, trunk).map(|to| to[0].as_str());
            assert_eq!(chosen, to, "{called}");
        }
        assert!(Called::pattern("05(").is_err());
    }
}
