//! `%NAME%` in configuration texts.
//!
//! Two readers of such texts differ in what an unset name means: a binding property (`queueName`)
//! must not start with a hole in it, whereas the handler's command line drops the name, as the
//! real host does. `%%` and a single `%` stay as they are.

/// A `%NAME%` whose setting does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("%{name}% has no value: set {name}")]
pub struct UnresolvedName {
    /// The missing setting.
    pub name: String,
}

/// `text` with every `%NAME%` replaced by its setting, all of which must exist.
pub fn resolve_names(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<String, UnresolvedName> {
    replace(text, |name| {
        lookup(name).ok_or_else(|| UnresolvedName {
            name: name.to_owned(),
        })
    })
}

/// `text` with every `%NAME%` replaced by its setting, or removed where there is none.
pub fn expand_names(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let expanded = replace(text, |name| {
        Ok::<_, std::convert::Infallible>(lookup(name).unwrap_or_default())
    });
    match expanded {
        Ok(text) => text,
        Err(never) => match never {},
    }
}

fn replace<E>(text: &str, value_of: impl Fn(&str) -> Result<String, E>) -> Result<String, E> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        let (before, tail) = (&rest[..start], &rest[start + 1..]);
        out.push_str(before);
        match tail.find('%') {
            Some(0) => {
                out.push_str("%%");
                rest = &tail[1..];
            }
            Some(end) => {
                out.push_str(&value_of(&tail[..end])?);
                rest = &tail[end + 1..];
            }
            None => {
                out.push('%');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "QUEUE").then(|| "orders".to_owned())
    }

    #[test]
    fn known_names_are_replaced_and_lone_percent_signs_stay() {
        assert_eq!(
            resolve_names("a-%QUEUE%-%QUEUE%", lookup).unwrap(),
            "a-orders-orders"
        );
        assert_eq!(
            resolve_names("100% of %%", lookup).unwrap_err().name,
            " of "
        );
        assert_eq!(resolve_names("100%", lookup).unwrap(), "100%");
        assert_eq!(resolve_names("%%é", lookup).unwrap(), "%%é");
    }

    #[test]
    fn an_unset_name_is_an_error_or_nothing() {
        let error = resolve_names("%NOPE%", lookup).unwrap_err();
        assert_eq!(error.to_string(), "%NOPE% has no value: set NOPE");
        assert_eq!(expand_names("x%NOPE%y%QUEUE%", lookup), "xyorders");
    }
}
