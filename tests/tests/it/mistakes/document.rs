//! `docs/mistakes.md` says what the list says.

use std::fmt::Write as _;
use std::path::Path;

use super::{Told, build, config, source, start};

const INTRODUCTION: &str = "# Mistakes, and what people are told

Every mistake below is made on purpose by a test, with a real push to a real server, and what is told is
compared word by word with this page (`…` stands for what differs from case to case). The state of a
Space is in its runtime object (`GET /api/spaces/{owner}/{name}/runtime`): `stage` is the Hub's, and
`spaceport` has `reason`, `message`, `remedy` and, for those who may change the Space, `evidence`.

A mistake in a push never takes down the release that serves.
";

#[test]
fn the_manual_has_every_mistake() {
    let mut text = INTRODUCTION.to_owned();
    let mut count = 0;
    for (title, mistakes) in [
        ("In README.md", config::all()),
        ("In the files", source::all()),
        ("In the build", build::all()),
        ("At the start of the app", start::all()),
    ] {
        count += mistakes.len();
        write!(
            text,
            "\n## {title}\n\n| Mistake | Where it shows | What is told | What to do |\n| --- | --- | --- | --- |\n"
        )
        .unwrap();
        for mistake in mistakes {
            let (place, message, remedy) = match mistake.told {
                Told::Stage { stage, reason, message, remedy } => (format!("`{stage}`, `{reason}`"), message, remedy),
                Told::Push { message } => ("git refuses the push".to_owned(), message, ""),
                Told::Log { message } => ("build log; the Space runs".to_owned(), message, ""),
            };
            let cell = |text: &str| text.replace('|', "\\|").replace('\n', "<br>");
            writeln!(text, "| {} | {place} | {} | {} |", cell(mistake.did), cell(message), cell(remedy)).unwrap();
        }
    }
    assert!(count >= 30, "only {count} mistakes");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mistakes.md");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    if there != text {
        std::fs::write(&path, &text).unwrap();
        panic!("docs/mistakes.md was not what the list says; it is written anew: look at it and commit it");
    }
}
