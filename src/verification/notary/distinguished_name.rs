//! Distinguished names: as trusted identities write them, and as certificates have them.
//!
//! The written form is that of RFC 4514 with the limits of trust-store-trust-policy, "Trusted identities constraints":
//! one attribute per component, each type once, C, ST and O required, no `#` values. Types are upper case, and values
//! are compared octet by octet.
//!
//! notation refuses every listed name when the certificate has a type twice or one outside the nine it knows. Here the
//! attributes are compared as parsed: what the entry lists has to be there, and what else is there does not matter. So
//! more certificates can be named, and none is trusted without every pair that is listed.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use const_oid::ObjectIdentifier;
use der::{Any, Encode, Tag, Tagged};
use thiserror::Error;
use x509_cert::name::Name;

/// Longer names are refused, written or encoded.
pub(super) const MAX_LENGTH: usize = 2048;

/// The attribute types that can be listed.
const TYPES: [(&str, ObjectIdentifier); 9] = [
    ("CN", ObjectIdentifier::new_unwrap("2.5.4.3")),
    ("SERIALNUMBER", ObjectIdentifier::new_unwrap("2.5.4.5")),
    ("C", ObjectIdentifier::new_unwrap("2.5.4.6")),
    ("L", ObjectIdentifier::new_unwrap("2.5.4.7")),
    ("ST", ObjectIdentifier::new_unwrap("2.5.4.8")),
    ("STREET", ObjectIdentifier::new_unwrap("2.5.4.9")),
    ("O", ObjectIdentifier::new_unwrap("2.5.4.10")),
    ("OU", ObjectIdentifier::new_unwrap("2.5.4.11")),
    ("POSTALCODE", ObjectIdentifier::new_unwrap("2.5.4.17")),
];

/// What a name must list.
const MANDATORY: [&str; 3] = ["C", "ST", "O"];

/// Announces a value in hexadecimal, which is refused wherever it stands.
const HEX_VALUE: &str = "=#";

/// A name as a trusted identity writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName(BTreeMap<String, String>);

/// The name is outside the grammar.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// It is longer than any real one.
    #[error("the name is too long")]
    TooLong,
    /// A value in hexadecimal.
    #[error("\"=#\" is not allowed in a name")]
    HexValue,
    /// Several attributes in one component.
    #[error("components with several attributes, joined by '+', are not allowed")]
    MultiValued,
    /// A backslash before what needs none.
    #[error("a backslash must stand before a special character or two hexadecimal digits")]
    Escape,
    /// A component that is not `type=value`.
    #[error("a component must be type=value")]
    Incomplete,
    /// A type without a value.
    #[error("{0} has no value")]
    EmptyValue(String),
    /// A type that stands twice.
    #[error("{0} is listed twice")]
    Repeated(String),
    /// A type that must be listed.
    #[error("{0} must be listed")]
    Mandatory(&'static str),
}

impl DistinguishedName {
    /// Reads the part behind `x509.subject:`.
    ///
    /// # Errors
    /// It is outside the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_LENGTH {
            return Err(NameError::TooLong);
        }
        if text.contains(HEX_VALUE) {
            return Err(NameError::HexValue);
        }
        let mut name = Self(BTreeMap::new());
        let mut component = Component::default();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => {
                    let escaped = characters.next().ok_or(NameError::Escape)?;
                    if r#",;\+"<>=# "#.contains(escaped) {
                        component.keep(escaped);
                    } else {
                        let low = characters.next().and_then(|low| low.to_digit(16));
                        let (Some(high), Some(low)) = (escaped.to_digit(16), low) else {
                            return Err(NameError::Escape);
                        };
                        let octet = u8::try_from(high * 16 + low).map_or(0, |octet| octet);
                        component.keep_octet(octet);
                    }
                }
                '=' if component.kind.is_none() => component.end_kind()?,
                '+' => return Err(NameError::MultiValued),
                ',' | ';' => name.add(std::mem::take(&mut component))?,
                ' ' => component.space(),
                other => component.keep(other),
            }
        }
        name.add(component)?;
        match MANDATORY.iter().find(|kind| !name.0.contains_key(**kind)) {
            Some(missing) => Err(NameError::Mandatory(missing)),
            None => Ok(name),
        }
    }

    fn add(&mut self, component: Component) -> Result<(), NameError> {
        let Some(kind) = component.kind.clone() else {
            return Err(NameError::Incomplete);
        };
        let value = component.text()?;
        if value.is_empty() {
            return Err(NameError::EmptyValue(kind));
        }
        let kind = if kind == "S" { "ST".to_owned() } else { kind };
        match self.0.insert(kind.clone(), value) {
            Some(_) => Err(NameError::Repeated(kind)),
            None => Ok(()),
        }
    }

    /// Whether everybody whom `other` names is named by this too.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(kind, value)| other.0.get(kind) == Some(value))
    }

    /// Whether every listed attribute is in the subject.
    pub(super) fn names(&self, subject: &SubjectName) -> bool {
        let attributes = || subject.0.iter().flatten();
        let is_ambiguous = |attribute: &Attribute| matches!(&attribute.text, Some(text) if text.contains(HEX_VALUE));
        !attributes().any(is_ambiguous)
            && self.0.iter().all(|(kind, value)| {
                attributes().any(|attribute| {
                    attribute.kind() == Some(kind.as_str())
                        && attribute.text.as_ref() == Some(value)
                })
            })
    }
}

impl fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{kind}={}", Escaped(value))?;
        }
        Ok(())
    }
}

/// A component while it is read.
#[derive(Default)]
struct Component {
    kind: Option<String>,
    octets: Vec<u8>,
    /// How many octets count if no more follow: spaces at the end do not.
    kept: usize,
}

impl Component {
    fn keep(&mut self, character: char) {
        let mut buffer = [0; 4];
        self.octets
            .extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        self.kept = self.octets.len();
    }

    fn keep_octet(&mut self, octet: u8) {
        self.octets.push(octet);
        self.kept = self.octets.len();
    }

    /// A space counts if something stands before and behind it.
    fn space(&mut self) {
        if !self.octets.is_empty() {
            self.octets.push(b' ');
        }
    }

    fn end_kind(&mut self) -> Result<(), NameError> {
        let kind = std::mem::take(self).text()?;
        if kind.is_empty() {
            return Err(NameError::Incomplete);
        }
        self.kind = Some(kind);
        Ok(())
    }

    fn text(mut self) -> Result<String, NameError> {
        self.octets.truncate(self.kept);
        // Escapes can spell octets that are no text.
        String::from_utf8(self.octets).or(Err(NameError::Escape))
    }
}

/// The subject of a certificate: its components, each with its attributes.
#[derive(Clone, Debug)]
pub(super) struct SubjectName(Vec<Vec<Attribute>>);

#[derive(Clone, Debug)]
struct Attribute {
    oid: ObjectIdentifier,
    /// `None` if the value is no text.
    text: Option<String>,
    encoded: Vec<u8>,
}

impl Attribute {
    fn kind(&self) -> Option<&'static str> {
        TYPES
            .iter()
            .find_map(|(kind, oid)| (*oid == self.oid).then_some(*kind))
    }
}

impl SubjectName {
    pub(super) fn new(name: &Name) -> Self {
        let attributes = |component: &x509_cert::name::RelativeDistinguishedName| {
            component
                .0
                .iter()
                .map(|attribute| Attribute {
                    oid: attribute.oid,
                    text: text(&attribute.value),
                    encoded: attribute.value.to_der().unwrap_or_default(),
                })
                .collect()
        };
        Self(name.0.iter().map(attributes).collect())
    }
}

/// The form of RFC 4514: the last component first, unknown types by their identifier and in hexadecimal.
impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, component) in self.0.iter().rev().enumerate() {
            for (inner, attribute) in component.iter().enumerate() {
                f.write_str(match (index, inner) {
                    (0, 0) => "",
                    (_, 0) => ",",
                    (_, _) => "+",
                })?;
                match (attribute.kind(), &attribute.text) {
                    (Some(kind), Some(text)) => write!(f, "{kind}={}", Escaped(text))?,
                    _ => {
                        write!(f, "{}=#", attribute.oid)?;
                        for octet in &attribute.encoded {
                            write!(f, "{octet:02x}")?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A value as RFC 4514 writes it, without control characters.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.chars().count().saturating_sub(1);
        for (index, character) in self.0.chars().enumerate() {
            let at_end = index == 0 || index == last;
            match character {
                ',' | ';' | '\\' | '+' | '"' | '<' | '>' => write!(f, "\\{character}")?,
                '#' if index == 0 => f.write_str("\\#")?,
                ' ' if at_end => f.write_str("\\ ")?,
                control if control.is_control() => {
                    let mut buffer = [0; 4];
                    for octet in control.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\{octet:02x}")?;
                    }
                }
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// The text of a value, by its string type.
fn text(value: &Any) -> Option<String> {
    let octets = value.value();
    let tag = value.tag();
    if tag == Tag::TeletexString {
        return Some(octets.iter().copied().map(char::from).collect());
    }
    if tag == Tag::BmpString {
        let (units, rest) = octets.as_chunks::<2>();
        let units: Vec<u16> = units.iter().copied().map(u16::from_be_bytes).collect();
        return String::from_utf16(&units).ok().filter(|_| rest.is_empty());
    }
    let is_ascii = [
        Tag::PrintableString,
        Tag::Ia5String,
        Tag::NumericString,
        Tag::VisibleString,
    ]
    .contains(&tag)
        && octets.is_ascii();
    if tag == Tag::Utf8String || is_ascii {
        return String::from_utf8(octets.to_vec()).ok();
    }
    None
}
