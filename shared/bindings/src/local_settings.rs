//! `local.settings.json`: the app settings of a developer's machine.
//!
//! `Values` and `ConnectionStrings` become settings of the host and of the handler, below those of
//! the real environment; `Host` says where the host answers. The file is the Functions tools' and
//! never leaves the machine, so it may hold secrets: no problem repeats a value of it.

use std::net::IpAddr;
use std::path::Path;

use crate::document::{Document, Kind};
use crate::problem::{ConfigProblem, ConfigProblems};
use crate::reader::Reader;

/// What no environment variable can hold.
const NUL: &str = "has the character NUL, which no environment variable can have";

/// A read `local.settings.json`.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LocalSettings {
    /// Names and values in alphabetical order, connection strings as `ConnectionStrings__NAME`.
    pub values: Vec<(String, String)>,
    /// `Host.LocalHttpPort`: where the host answers requests.
    pub port: Option<u16>,
    /// `Host.LocalHttpAddress`.
    pub address: Option<IpAddr>,
    /// What the file asks for that the host does not do; no reason not to start.
    pub ignored: Vec<ConfigProblem>,
}

impl std::fmt::Debug for LocalSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.values.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("LocalSettings")
            .field("values", &names)
            .field("port", &self.port)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl LocalSettings {
    /// Reads `text`, the content of `file`.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigProblems> {
        let document = Document::parse(file, text)?;
        let mut reader = Reader::new(&document);
        if reader.boolean("IsEncrypted", false) {
            let what = "is true, and this host cannot decrypt: write the values in plain text \
                        (`func settings decrypt` does it) and set it to false";
            reader.problem("IsEncrypted", what);
            return reader.finish().map(|()| Self::default());
        }
        let mut values = texts(&mut reader, &document, "Values");
        values.extend(connection_strings(&mut reader, &document));
        values.sort();
        let cors = document.get("Host:CORS");
        let what = "is not used by this host: pages of other origins cannot read its answers";
        let settings = Self {
            values,
            port: reader.number("Host:LocalHttpPort", 1, u16::MAX),
            address: read_address(&mut reader),
            ignored: cors
                .map(|_| document.problem("Host:CORS", what))
                .into_iter()
                .collect(),
        };
        reader.finish().map(|()| settings)
    }
}

/// The members of the section `path`, all of which must be scalars.
fn texts(
    reader: &mut Reader<'_>,
    document: &Document,
    path: &'static str,
) -> Vec<(String, String)> {
    if document
        .get(path)
        .is_some_and(|entry| entry.kind != Kind::Object)
    {
        reader.problem(path, "expected an object");
        return Vec::new();
    }
    let mut texts = Vec::new();
    for (name, entry) in document.below(path) {
        match entry.kind {
            Kind::Null => {}
            Kind::Object | Kind::Array => {
                let what = format!("{name}: expected a text, found {}", entry.found());
                reader.problem(path, what);
            }
            _ if entry.text.contains('\0') || name.contains('\0') => {
                reader.problem(path, format!("{}: {NUL}", name.replace('\0', "\\0")));
            }
            Kind::Text | Kind::Number | Kind::Boolean => {
                texts.push((name.to_owned(), entry.text.clone()));
            }
        }
    }
    texts
}

/// Each a text, or an object with the member `ConnectionString`.
fn connection_strings(reader: &mut Reader<'_>, document: &Document) -> Vec<(String, String)> {
    const SECTION: &str = "ConnectionStrings";
    let mut strings = Vec::new();
    for name in document.members(SECTION) {
        let path = format!("{SECTION}:{name}");
        // As it was spelt.
        let entry = document.get(&path);
        let spelt = entry.and_then(|entry| entry.shown.get(SECTION.len() + 1..));
        let name = spelt.unwrap_or(&name).to_owned();
        let inner = format!("{path}:ConnectionString");
        let is_object = document
            .get(&path)
            .is_some_and(|entry| entry.kind == Kind::Object);
        let path = if is_object { inner } else { path };
        match document.get(&path).map(|entry| (entry.kind, &entry.text)) {
            Some((Kind::Text, text)) if text.contains('\0') || name.contains('\0') => {
                reader.problem(&path, NUL);
            }
            Some((Kind::Text, text)) => strings.push((format!("{SECTION}__{name}"), text.clone())),
            None if !is_object => {}
            _ => reader.problem(&path, "expected a text"),
        }
    }
    strings
}

fn read_address(reader: &mut Reader<'_>) -> Option<IpAddr> {
    const PATH: &str = "Host:LocalHttpAddress";
    let text = reader.text(PATH)?;
    if text.eq_ignore_ascii_case("localhost") {
        return Some(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let address = text.trim().trim_matches(['[', ']']).parse();
    if address.is_err() {
        let what = format!("expected an address such as \"127.0.0.1\", found {text:?}");
        reader.problem(PATH, what);
    }
    address.ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<LocalSettings, ConfigProblems> {
        LocalSettings::parse(Path::new("local.settings.json"), text)
    }

    #[test]
    fn values_and_connection_strings_become_settings() {
        let settings = parse(
            r#"{ // of this machine
              "IsEncrypted": false,
              "Values": {"FUNCTIONS_WORKER_RUNTIME": "custom", "A:b__C.d": "x=y", "N": 7, "T": true,
                         "Nothing": null},
              "ConnectionStrings": {"Plain": "p",
                "Sql": {"ConnectionString": "s", "ProviderName": "System.Data.SqlClient"}},
              "Host": {"LocalHttpPort": "7072", "LocalHttpAddress": "[::1]", "CORS": "*"}
            }"#,
        )
        .unwrap();
        let pairs: Vec<String> = settings
            .values
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            pairs,
            [
                "A:b__C.d=x=y",
                "ConnectionStrings__Plain=p",
                "ConnectionStrings__Sql=s",
                "FUNCTIONS_WORKER_RUNTIME=custom",
                "N=7",
                "T=true"
            ]
        );
        assert_eq!(settings.port, Some(7072));
        assert_eq!(settings.address.unwrap().to_string(), "::1");
        assert_eq!(settings.ignored.len(), 1);
        assert!(!format!("{settings:?}").contains("x=y"));
        assert_eq!(parse("{}").unwrap(), LocalSettings::default());
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_place_and_without_its_value() {
        insta::assert_snapshot!(parse(r#"{"IsEncrypted": true, "Values": {"A": "hush"}}"#).unwrap_err(), @"local.settings.json:1:17: IsEncrypted: is true, and this host cannot decrypt: write the values in plain text (`func settings decrypt` does it) and set it to false");
        let problems = parse(
            r#"{"Values": {"A": "hush\u0000", "B\u0000": ""},
                "ConnectionStrings": {"X": "hush\u0000"}}"#,
        )
        .unwrap_err();
        insta::assert_snapshot!(problems, @r"
    local.settings.json:1:12: Values: A: has the character NUL, which no environment variable can have
    local.settings.json:1:12: Values: B\0: has the character NUL, which no environment variable can have
    local.settings.json:2:44: ConnectionStrings.X: has the character NUL, which no environment variable can have
    ");
        let problems = parse(
            r#"{"Values": {"A": {"B": "hush"}, "C": ["hush"]},
                "ConnectionStrings": {"X": ["hush"], "Y": {"ProviderName": "hush"}},
                "Host": {"LocalHttpPort": 0, "LocalHttpAddress": "here"}}"#,
        )
        .unwrap_err();
        insta::assert_snapshot!(problems, @r#"
    local.settings.json:1:12: Values: A: expected a text, found an object
    local.settings.json:1:12: Values: C: expected a text, found an array
    local.settings.json:2:44: ConnectionStrings.X: expected a text
    local.settings.json:2:59: ConnectionStrings.Y.ConnectionString: expected a text
    local.settings.json:3:43: Host.LocalHttpPort: expected a whole number from 1 to 65535, found 0
    local.settings.json:3:66: Host.LocalHttpAddress: expected an address such as "127.0.0.1", found "here"
    "#);
        assert!(!problems.to_string().contains("hush"));
        insta::assert_snapshot!(parse(r#"{"Values": "hush"}"#).unwrap_err(), @"local.settings.json:1:12: Values: expected an object");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"\{("(Values|Host|ConnectionStrings|a:b|IsEncrypted)"|[:{},\[\]]|"é"|1|null|true){0,20}\}?"#) {
            let _ = parse(&text);
        }
    }
}
