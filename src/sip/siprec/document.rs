//! The XML of recording metadata as a small tree: local names, attributes, text; bounded, without document types.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::MetadataError;

/// The longest document taken, in bytes; a conference of ten has about 12 KiB.
pub const MAX_BYTES: usize = 256 * 1024;
/// The deepest nesting taken; the schema needs four, extensions a few more.
const MAX_DEPTH: usize = 16;
/// The most elements taken.
const MAX_ELEMENTS: usize = 4_096;

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Without its prefix.
    pub name: String,
    attributes: Vec<(String, String)>,
    /// Its own text, without that of its children.
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document's root.
    pub(crate) fn read(xml: &[u8]) -> Result<Self, MetadataError> {
        if xml.len() > MAX_BYTES {
            return Err(MetadataError::TooLarge("text"));
        }
        let text = String::from_utf8_lossy(xml);
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
        let mut open: Vec<Element> = Vec::new();
        let mut elements = 0;
        loop {
            let event = reader
                .read_event()
                .map_err(|_| MetadataError::Malformed("is not well-formed"))?;
            let closed = match event {
                Event::Start(start) => {
                    open.push(Self::begin(&start, &mut elements)?);
                    if open.len() > MAX_DEPTH {
                        return Err(MetadataError::TooLarge("nesting"));
                    }
                    None
                }
                Event::Empty(start) => Some(Self::begin(&start, &mut elements)?),
                Event::End(_) => open.pop(),
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                    None
                }
                Event::CData(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                    None
                }
                Event::GeneralRef(reference) => {
                    let letter = match reference.resolve_char_ref() {
                        Ok(Some(letter)) => Some(letter),
                        _ => predefined(&reference.xml10_content()),
                    };
                    let letter =
                        letter.ok_or(MetadataError::Malformed("names an unknown entity"))?;
                    if let Some(element) = open.last_mut() {
                        element.text.push(letter);
                    }
                    None
                }
                Event::DocType(_) => {
                    return Err(MetadataError::Malformed("declares a document type"));
                }
                Event::Eof => return Err(MetadataError::Malformed("ends too early")),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => None,
            };
            if let Some(closed) = closed {
                match open.last_mut() {
                    Some(parent) => parent.children.push(closed),
                    None => return Ok(closed),
                }
            }
        }
    }

    fn begin(start: &BytesStart<'_>, elements: &mut usize) -> Result<Self, MetadataError> {
        *elements += 1;
        if *elements > MAX_ELEMENTS {
            return Err(MetadataError::TooLarge("elements"));
        }
        // Devices forget quotes around attributes of their extensions: what cannot be read is passed over.
        let attributes = start
            .html_attributes()
            .with_checks(false)
            .filter_map(Result::ok)
            .map(|attribute| {
                let raw: &str = &attribute.value;
                let value = quick_xml::escape::unescape(raw)
                    .map_or_else(|_| raw.to_owned(), std::borrow::Cow::into_owned);
                (local(attribute.key.local_name().as_ref()), value)
            })
            .collect();
        Ok(Self {
            name: local(start.local_name().as_ref()),
            attributes,
            ..Self::default()
        })
    }

    /// The first attribute of these local names.
    pub(crate) fn attribute(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|wanted| {
            let (_, value) = self.attributes.iter().find(|(name, _)| name == wanted)?;
            Some(value.trim())
        })
    }

    /// The first child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The texts of the children of this name.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.children
            .iter()
            .filter(|child| child.name == name)
            .map(|child| child.text.trim().to_owned())
            .collect()
    }

    /// Everything below this element, in no order; the depth is bounded by [`MAX_DEPTH`].
    pub(crate) fn descendants(&self) -> impl Iterator<Item = &Self> {
        let mut open: Vec<&Self> = self.children.iter().collect();
        std::iter::from_fn(move || {
            let next = open.pop()?;
            open.extend(&next.children);
            Some(next)
        })
    }
}

/// Devices do not agree on the case of letters.
fn local(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}
