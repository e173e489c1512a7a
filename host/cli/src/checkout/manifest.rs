//! The manifests that name the jobs: which crates they list, where, and where a new one belongs.
//!
//! A line is put in and nothing else is touched, so that comments and layout stay.

use std::ops::Range;

use toml_edit::{ImDocument, Item};

use super::line_of;

/// The workspace's manifest.
pub(crate) const WORKSPACE: &str = "Cargo.toml";

/// The manifest of the handler.
pub(crate) const HANDLER: &str = "functions/Cargo.toml";

/// What our crates' names begin with.
pub(crate) const PREFIX: &str = "nightshift-";

/// A manifest that is not as it is known.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub(crate) struct BadManifest {
    file: String,
    what: String,
}

/// A manifest.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    file: String,
    text: String,
    document: ImDocument<String>,
}

/// A name in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) line: usize,
    span: Range<usize>,
}

impl Manifest {
    pub(crate) fn read(file: &str, text: String) -> Result<Self, BadManifest> {
        let document = ImDocument::parse(text.clone()).map_err(|error| BadManifest {
            file: file.to_owned(),
            what: error.to_string().trim_end().to_owned(),
        })?;
        Ok(Self {
            file: file.to_owned(),
            text,
            document,
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The package's name.
    pub(crate) fn package(&self) -> Option<Named> {
        let name = self.item(&["package", "name"])?;
        Some(self.named(name.as_str()?, name.span()?))
    }

    /// The members of the workspace.
    pub(crate) fn members(&self) -> Vec<Named> {
        let members = self.item(&["workspace", "members"]);
        let members = members.and_then(Item::as_array).into_iter().flatten();
        let named = members.filter_map(|member| Some(self.named(member.as_str()?, member.span()?)));
        named.collect()
    }

    /// Our own crates in the table `path`.
    pub(crate) fn dependencies(&self, path: &[&str]) -> Vec<Named> {
        let Some(table) = self.item(path).and_then(Item::as_table_like) else {
            return Vec::new();
        };
        let names = table.iter().map(|(name, _)| name);
        let ours = names.filter(|name| name.starts_with(PREFIX));
        ours.filter_map(|name| Some(self.named(name, table.key(name)?.span()?)))
            .collect()
    }

    /// With another member of the workspace, at its place in the alphabet.
    pub(crate) fn with_member(&self, path: &str) -> Result<Self, BadManifest> {
        let members = self.members();
        let between = |one: &Named, other: &Named| self.text.get(one.span.end..other.span.start);
        let separator = match members.as_slice() {
            [one, other, ..] => between(one, other),
            _ => None,
        };
        let separator =
            separator.ok_or_else(|| self.bad("workspace.members has no two members"))?;
        let (folder, _) = path.split_once('/').unwrap_or((path, ""));
        let neighbours = members
            .iter()
            .filter(|member| member.name.starts_with(folder));
        let (earlier, later): (Vec<_>, Vec<_>) =
            neighbours.partition(|member| member.name.as_str() < path);
        let (at, new) = match (earlier.last(), later.first()) {
            (Some(member), _) => (member.span.end, format!("{separator}\"{path}\"")),
            (None, Some(member)) => (member.span.start, format!("\"{path}\"{separator}")),
            (None, None) => return Err(self.bad(&format!("no member is below {folder}/"))),
        };
        self.inserted(at, &new)
    }

    /// With `line`, a dependency on `name`, in the table `path`, at its place in the alphabet.
    pub(crate) fn with_dependency(
        &self,
        path: &[&str],
        name: &str,
        line: &str,
    ) -> Result<Self, BadManifest> {
        let ours = self.dependencies(path);
        let earlier = ours
            .iter()
            .rfind(|dependency| dependency.name.as_str() < name);
        let at = match (earlier, ours.first()) {
            (Some(dependency), _) => self.line_end(dependency.span.end),
            (None, Some(first)) => self.line_begin(first.span.start),
            (None, None) => {
                let what = format!("[{}] names no crate of ours", path.join("."));
                return Err(self.bad(&what));
            }
        };
        self.inserted(at, &format!("{line}\n"))
    }

    fn inserted(&self, at: usize, new: &str) -> Result<Self, BadManifest> {
        let mut text = self.text.clone();
        text.insert_str(at, new);
        Self::read(&self.file, text)
    }

    fn line_begin(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        before.rfind('\n').map_or(0, |end| end + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |end| at + end + 1)
    }

    fn item(&self, path: &[&str]) -> Option<&Item> {
        let (first, rest) = path.split_first()?;
        let top = self.document.as_table().get(first)?;
        rest.iter().try_fold(top, |item, name| item.get(*name))
    }

    fn named(&self, name: &str, span: Range<usize>) -> Named {
        Named {
            name: name.to_owned(),
            line: line_of(&self.text, span.start),
            span,
        }
    }

    fn bad(&self, what: &str) -> BadManifest {
        BadManifest {
            file: self.file.clone(),
            what: format!("{what}, so that there is no place for another one"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
[workspace]
members = [\"functions\", \"functions/admin\", \"functions/zoo\", \"shared/*\"] # all

[workspace.dependencies]
# Ours.
nightshift-admin = { path = \"functions/admin\" }
nightshift-zoo = { path = \"functions/zoo\" } # the last

# Others'.
anyhow = \"1\"
";

    #[test]
    fn a_member_and_a_dependency_find_their_places_and_comments_stay() {
        let manifest = Manifest::read("Cargo.toml", TEXT.to_owned()).unwrap();
        let table = ["workspace", "dependencies"];
        let names: Vec<_> = manifest.dependencies(&table);
        assert_eq!(
            (names[1].name.as_str(), names[1].line),
            ("nightshift-zoo", 7)
        );
        let changed = manifest.with_member("functions/middle").unwrap();
        let line = "nightshift-middle = 1";
        let changed = changed.with_dependency(&table, "nightshift-middle", line);
        let changed = changed.unwrap();
        let expected = TEXT
            .replace("admin\", ", "admin\", \"functions/middle\", ")
            .replace("nightshift-zoo", "nightshift-middle = 1\nnightshift-zoo");
        assert_eq!(changed.text(), expected);
        let line = "nightshift-zz.workspace = true";
        let last = changed
            .with_dependency(&table, "nightshift-zz", line)
            .unwrap();
        let expected = "the last\nnightshift-zz.workspace = true\n\n# Others'";
        assert!(last.text().contains(expected));
        let first = changed.with_dependency(&table, "nightshift-a", "nightshift-a = 1");
        assert!(
            first
                .unwrap()
                .text()
                .contains("# Ours.\nnightshift-a = 1\n")
        );
    }

    #[test]
    fn a_manifest_without_a_place_is_refused() {
        let manifest = Manifest::read("x/Cargo.toml", "[workspace]\n".to_owned()).unwrap();
        let error = manifest.with_member("functions/a").unwrap_err().to_string();
        assert!(error.starts_with("x/Cargo.toml: "), "{error}");
        assert!(Manifest::read("x", "nonsense".to_owned()).is_err());
    }
}
