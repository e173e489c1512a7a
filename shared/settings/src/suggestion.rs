//! What somebody may have meant by a name that nobody knows.

/// How close a misspelt name must be (Jaro similarity, 0 to 1) to be suggested.
const NEAR: f64 = 0.8;

/// The one of `known` that looks most like `name`, if one has at least this similarity.
pub(crate) fn nearest<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    least: f64,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::jaro(name, known), known))
        .filter(|(similarity, _)| *similarity >= least)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// The end of a sentence that says that there is no `name`: the one of `known` that may be meant, or nothing.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known, NEAR).map_or_else(String::new, |near| format!("; did you mean {near}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_name_is_suggested_and_nothing_else_is() {
        let known = ["mail-provider", "text-provider"];
        assert_eq!(
            did_you_mean("mail-provder", known),
            "; did you mean mail-provider?"
        );
        assert_eq!(did_you_mean("xyz", known), "");
    }
}
