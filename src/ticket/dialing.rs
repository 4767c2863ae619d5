//! Telephone numbers as an operator writes and dials them: 13800000001, 05356221000.
//!
//! A network gives the same number as +8613800000001 (E.164), 008613800000001, 013800000001 (a mobile of another area)
//! or +86-138-0000-0001: RFC 3966 §5.1.1 gives visual separators no meaning. Words such as `anonymous` or `unavailable`
//! in its place are no number.

use std::borrow::Cow;

/// What a network writes where it does not tell who calls (RFC 3323, 3GPP TS 24.229 and what gateways make of them).
const WITHHELD: [&str; 11] = [
    "anonymous",
    "blocked",
    "coin",
    "invalid",
    "null",
    "private",
    "restricted",
    "unavailable",
    "unidentified",
    "unknown",
    "withheld",
];
/// The fewest and most digits of a number that somebody can be called at (E.164 has 15, and 00 before them).
const DIGITS: std::ops::RangeInclusive<usize> = 3..=17;

/// How numbers are dialled in one city.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialing {
    area_code: String,
    /// How many digits a land line has there.
    local: usize,
}

impl Dialing {
    /// For the city with this area code, with its 0.
    #[must_use]
    pub fn new(area_code: String) -> Self {
        let eight = include_str!("local8.txt")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(str::split_whitespace)
            .any(|known| known == area_code);
        Self {
            area_code,
            local: if eight { 8 } else { 7 },
        }
    }

    /// The number that a network gave, as it is dialled from this city; `None` for what is no number.
    #[must_use]
    pub fn of_network(&self, given: &str) -> Option<String> {
        national(given).map(|number| self.whole(number))
    }

    /// The same to show who calls: what is no number, the name of an extension for one, stays unless it says that nothing
    /// is known.
    #[must_use]
    pub fn shown(&self, given: &str) -> Option<String> {
        let withheld = || {
            let word = given.trim();
            !word.chars().any(char::is_alphanumeric)
                || WITHHELD
                    .iter()
                    .any(|known| word.eq_ignore_ascii_case(known))
        };
        self.of_network(given)
            .or_else(|| (!withheld()).then(|| given.to_owned()))
    }

    /// The number as a TEL URI (RFC 3966): with its country and area code, or, where it can only be dialled from here such as
    /// 12345 and 400 numbers, with the place that it is dialled from. `None` for what is no number.
    #[must_use]
    pub fn tel_uri(&self, given: &str) -> Option<String> {
        let number = self.of_network(given)?;
        if let Some(abroad) = number.strip_prefix("00") {
            return Some(format!("tel:+{abroad}"));
        }
        if is_mobile(&number) {
            return Some(format!("tel:+86{number}"));
        }
        // An area code and a land line.
        if let Some(land_line) = number
            .strip_prefix('0')
            .filter(|rest| (9..=11).contains(&rest.len()))
        {
            return Some(format!("tel:+86{land_line}"));
        }
        let area = self.area_code.trim_start_matches('0');
        let is_national = number.len() == 10 && ["400", "800"].contains(&&number[..3]);
        let place = if is_national { "" } else { area };
        Some(format!("tel:{number};phone-context=+86{place}"))
    }

    /// Whether these digits are a land line of this city, with or without the area code.
    pub(super) fn is_local(&self, digits: &str) -> bool {
        let local = digits.strip_prefix(&self.area_code).unwrap_or(digits);
        local.len() == self.local && matches!(local.as_bytes()[0], b'2'..=b'8')
    }

    /// How many digits a land line has here without the area code.
    pub(super) const fn local_digits(&self) -> usize {
        self.local
    }

    /// A number with its area code, where that is left out or has lost its 0.
    pub(super) fn whole(&self, digits: String) -> String {
        let bare = self.area_code.trim_start_matches('0');
        if digits.len() == self.local && self.is_local(&digits) {
            format!("{}{digits}", self.area_code)
        } else if digits.len() == bare.len() + self.local
            && !is_mobile(&digits)
            && digits
                .strip_prefix(bare)
                .is_some_and(|local| self.is_local(local))
        {
            format!("0{digits}")
        } else {
            digits
        }
    }
}

/// Whether it is a mobile number of mainland China.
pub(super) fn is_mobile(digits: &str) -> bool {
    digits.len() == 11 && matches!(digits.as_bytes(), [b'1', b'3'..=b'9', ..])
}

/// A number in the one form that is dialled within the country; numbers of other countries begin with 00. Two spellings
/// of one number give the same.
#[must_use]
pub fn national(given: &str) -> Option<String> {
    let given = given.trim();
    let given = ["sip:", "sips:", "tel:"]
        .iter()
        .find_map(|scheme| {
            let (head, rest) = given.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        })
        .unwrap_or(given);
    let user = given.split(['@', ';']).next().unwrap_or_default();
    let user: Cow<'_, str> = if user.contains('%') {
        user.replace("%2B", "+").replace("%2b", "+").into()
    } else {
        user.into()
    };
    let (plus, rest) = user
        .strip_prefix('+')
        .map_or((false, &*user), |rest| (true, rest));
    let mut digits = String::new();
    for letter in rest.chars() {
        match letter {
            '0'..='9' => digits.push(letter),
            '０'..='９' => digits.push(char::from(b'0' + (letter as u32 - '０' as u32) as u8)),
            '-' | '.' | '(' | ')' | ' ' | '/' | '－' | '（' | '）' => {}
            _ => return None,
        }
    }
    if !DIGITS.contains(&digits.len()) || digits.bytes().all(|digit| digit == b'0') {
        return None;
    }
    let abroad = |number: &str| -> String {
        match number.strip_prefix("86") {
            // What follows is complete without its 0: +86 535 6221000, but also +86 0535 6221000.
            Some(own) => with_trunk_prefix(own.trim_start_matches('0')),
            None => format!("00{number}"),
        }
    };
    Some(if plus {
        abroad(&digits)
    } else if let Some(number) = digits.strip_prefix("00") {
        abroad(number)
    } else if let Some(mobile) = digits.strip_prefix('0').filter(|rest| is_mobile(rest)) {
        mobile.to_owned()
    } else if digits.len() >= 12 && digits.starts_with("86") {
        abroad(&digits)
    } else {
        digits
    })
}

/// A national number as it is dialled: land lines take a 0, mobile numbers, short ones and 400 and 800 do not.
fn with_trunk_prefix(number: &str) -> String {
    let is_land_line = (9..=11).contains(&number.len())
        && !is_mobile(number)
        && !number.starts_with("400")
        && !number.starts_with("800");
    let zero = if is_land_line { "0" } else { "" };
    format!("{zero}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yantai(given: &str) -> Option<String> {
        Dialing::new("0535".to_owned()).of_network(given)
    }

    #[test]
    fn a_number_is_a_tel_uri_with_its_country_or_with_where_it_can_be_dialled() {
        let yantai = Dialing::new("0535".to_owned());
        let beijing = Dialing::new("010".to_owned());
        for (dialing, given, uri) in [
            (&yantai, "13900001234", "tel:+8613900001234"),
            (&yantai, "+86 139-0000-1234", "tel:+8613900001234"),
            (&yantai, "6612345", "tel:+865356612345"),
            (&yantai, "0535-6612345", "tel:+865356612345"),
            (&yantai, "5356612345", "tel:+865356612345"),
            (&yantai, "01066123456", "tel:+861066123456"),
            (&beijing, "66123456", "tel:+861066123456"),
            (&yantai, "+15550100", "tel:+15550100"),
            (&yantai, "0015550100", "tel:+15550100"),
            (&yantai, "12345", "tel:12345;phone-context=+86535"),
            (&yantai, "1007", "tel:1007;phone-context=+86535"),
            (&yantai, "4008123123", "tel:4008123123;phone-context=+86"),
        ] {
            assert_eq!(dialing.tel_uri(given).as_deref(), Some(uri), "{given}");
        }
        for given in ["anonymous", "reception", ""] {
            assert_eq!(yantai.tel_uri(given), None, "{given}");
        }
    }

    #[test]
    fn every_spelling_of_a_number_is_written_as_it_is_dialled() {
        for mobile in ["13900001234", "19853512345", "16600000000"] {
            for given in [
                mobile.to_owned(),
                format!("+86{mobile}"),
                format!("86{mobile}"),
                format!("0086{mobile}"),
                format!("0{mobile}"),
                format!("tel:+86-{}-{}", &mobile[..3], &mobile[3..]),
                format!("sip:+86{mobile}@ims.example;user=phone"),
                format!("%2B86{mobile}"),
                format!("+86 ({}) {}", &mobile[..3], &mobile[3..]),
                format!("+860{mobile}"),
            ] {
                assert_eq!(yantai(&given).as_deref(), Some(mobile), "{given}");
            }
        }
        for given in [
            "6612345",
            "0535-6612345",
            "+865356612345",
            "+86(535)6612345",
            "865356612345",
            "00865356612345",
            "5356612345",
            "+86 0535 6612345",
        ] {
            assert_eq!(yantai(given).as_deref(), Some("05356612345"), "{given}");
        }
    }

    #[test]
    fn numbers_of_elsewhere_and_short_ones_stay_what_they_are() {
        for (given, wanted) in [
            ("+861082612345", "01082612345"),
            ("010-8261-2345", "01082612345"),
            ("+862161234567", "02161234567"),
            ("053182612345", "053182612345"),
            ("+85223456789", "0085223456789"),
            ("0012125550123", "0012125550123"),
            ("4008208820", "4008208820"),
            ("+864008208820", "4008208820"),
            ("12345", "12345"),
            ("95598", "95598"),
            ("8001", "8001"),
        ] {
            assert_eq!(yantai(given).as_deref(), Some(wanted), "{given}");
        }
    }

    #[test]
    fn words_and_signs_are_no_numbers() {
        for given in [
            "",
            "+",
            "-",
            "anonymous",
            "Unavailable",
            "unknown",
            "trunk",
            "alice",
            "sip:bob@example.org",
            "0000000",
            "12",
            "13900001234x",
            "+86anonymous",
            "999999999999999999999",
        ] {
            assert_eq!(yantai(given), None, "{given}");
        }
        let shown = |given| Dialing::new("0535".to_owned()).shown(given);
        assert_eq!(shown("Restricted"), None);
        assert_eq!(shown("+"), None);
        assert_eq!(shown("alice").as_deref(), Some("alice"));
        assert_eq!(shown("+8613900001234").as_deref(), Some("13900001234"));
    }

    #[test]
    fn land_lines_are_as_long_as_the_city_has_them() {
        let jinan = Dialing::new("0531".to_owned());
        assert_eq!(
            jinan.of_network("82612345").as_deref(),
            Some("053182612345")
        );
        assert_eq!(
            jinan.of_network("+8653182612345").as_deref(),
            Some("053182612345")
        );
        assert_eq!(jinan.of_network("6612345").as_deref(), Some("6612345"));
        assert_eq!(yantai("82612345").as_deref(), Some("82612345"));
    }
}
