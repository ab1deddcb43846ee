//! How well a Space fits what somebody looks for: plain words in what its card says, in numbers one can work out by
//! hand. No embeddings: a hub must not need a model to be searched.

/// Most words of a question that count.
pub const MAX_WORDS: usize = 8;

/// What a question is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Its title.
    pub title: &'a str,
    /// `owner/name`.
    pub name: &'a str,
    /// What it says of itself in a line.
    pub description: &'a str,
    /// Its tags.
    pub tags: &'a [String],
}

/// The words of a text, in lower case, each once.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        if words.len() < MAX_WORDS && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// From 0, no word is in it, to 1, every word is one of its title. A word counts once, where it counts most: as a word
/// of the title or the name 6, as a tag 5, as a word of the description 4, and half of that as a part of a word.
#[must_use]
pub fn score(asked: &[String], text: Text<'_>) -> f64 {
    let Text { title, name, description, tags } = text;
    let heading = format!("{title} {name}").to_lowercase();
    let description = description.to_lowercase();
    let tags = tags.join(" ").to_lowercase();
    let weigh = |word: &String| {
        [(&heading, 6_u32), (&tags, 5), (&description, 4)]
            .into_iter()
            .map(|(text, weight)| match text.contains(word.as_str()) {
                false => 0,
                true if text.split(|c: char| !c.is_alphanumeric()).any(|other| other == word) => 2 * weight,
                true => weight,
            })
            .max()
            .unwrap_or(0)
    };
    let sum: u32 = asked.iter().map(weigh).sum();
    let most = 12 * u32::try_from(asked.len()).unwrap_or(u32::MAX).max(1);
    f64::from(sum) / f64::from(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_first_counts_most() {
        let tags = ["text-to-image".to_owned()];
        let text = Text { title: "Paint Éclair", name: "alice/brush", description: "Draws what you say", tags: &tags };
        let of = |asked: &str| score(&words(asked), text);
        for (asked, expected) in [
            ("paint", 1.0),
            ("éclair BRUSH", 1.0),
            ("image", 10.0 / 12.0),
            ("draws", 8.0 / 12.0),
            ("draw", 4.0 / 12.0),
            ("paint boat", 0.5),
            ("boat", 0.0),
            ("", 0.0),
        ] {
            assert!((of(asked) - expected).abs() < 1e-9, "{asked}: {}", of(asked));
        }
        assert_eq!(words("Text-to-Image, image!"), ["text", "to", "image"]);
    }
}
