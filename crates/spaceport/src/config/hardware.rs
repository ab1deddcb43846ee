//! `[hardware.NAME]`: the site's own flavors, beside and over the Hub's.
//!
//! Read from the plain table, so that every mistake in every flavor is told at once.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use spaceport_core::{Catalog, FlavorName, HardwareFlavor};
use toml::{Table, Value};

pub(super) const FLAVOR_KEYS: [&str; 7] =
    ["pretty_name", "cpu_millicores", "memory_bytes", "pids", "shm_bytes", "disk_bytes", "gpu"];
pub(super) const GPU_KEYS: [&str; 5] = ["count", "models", "min_memory_gib", "share_milli", "share_memory_gib"];

/// The flavors of the table, and what is wrong with them.
pub(super) fn read(tables: &Table) -> (BTreeMap<FlavorName, HardwareFlavor>, Vec<String>) {
    let (mut flavors, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, value) in tables {
        let place = format!("hardware.{name}");
        let is_word = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.".contains(letter);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_word) {
            problems.push(format!("{place}: a flavor's name has 1 to 64 of a-z, 0-9, -, _ and ."));
        }
        let Value::Table(table) = value else {
            problems.push(format!("{place} is not a table; write [{place}] and its values below"));
            continue;
        };
        let mut table = table.clone();
        problems.extend(take_unknown(&mut table, &FLAVOR_KEYS, &place));
        if let Some(Value::Table(gpu)) = table.get_mut("gpu") {
            problems.extend(take_unknown(gpu, &GPU_KEYS, &format!("{place}.gpu")));
        }
        match parse::<HardwareFlavor>(table, &place) {
            Ok(flavor) => {
                problems.extend(flavor.problems().into_iter().map(|problem| format!("{place}: {problem}")));
                flavors.insert(FlavorName(name.clone()), flavor);
            }
            Err(problem) => problems.push(problem),
        }
    }
    (flavors, problems)
}

/// What is wrong with the list of flavors that are not offered.
pub(super) fn check_hidden(hidden: &BTreeSet<FlavorName>, own: &BTreeMap<FlavorName, HardwareFlavor>) -> Vec<String> {
    let catalog = Catalog::new(own.clone(), BTreeSet::new());
    let mut problems = Vec::new();
    for name in hidden {
        if *name == FlavorName::cpu_basic() {
            problems.push(
                "hidden_hardware: cpu-basic is what every Space starts with; change it in [hardware.cpu-basic]"
                    .to_owned(),
            );
        } else if catalog.get(name).is_none() {
            problems.push(format!("hidden_hardware: there is no flavor {name}"));
        }
    }
    problems
}

/// Takes the keys that mean nothing out of a table, and says which.
pub(super) fn take_unknown(table: &mut Table, known: &[&str], place: &str) -> Vec<String> {
    let unknown: Vec<String> = table.keys().filter(|key| !known.contains(&key.as_str())).cloned().collect();
    for key in &unknown {
        table.remove(key);
    }
    unknown.iter().map(|key| format!("{place} has no key {key:?}; there are {}", known.join(", "))).collect()
}

/// A table as a value, or the sentence that says why it is none.
pub(super) fn parse<T: DeserializeOwned>(table: Table, place: &str) -> Result<T, String> {
    table.try_into().map_err(|error: toml::de::Error| format!("{place}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let table: Table = toml::from_str(text).unwrap();
        let Value::Table(hardware) = &table["hardware"] else { panic!("{table}") };
        read(hardware).1
    }

    #[test]
    fn flavors_with_accelerators_are_read() {
        let table: Table = toml::from_str(
            "[lab-half]\npretty_name = \"Half a card\"\ncpu_millicores = 4000\nmemory_bytes = 17179869184\n\
             gpu = { models = [\"A100\"], share_milli = 500 }\n",
        )
        .unwrap();
        let (flavors, problems) = read(&table);
        assert_eq!(problems, Vec::<String>::new());
        let gpu = flavors[&FlavorName("lab-half".to_owned())].gpu.clone().unwrap();
        assert_eq!((gpu.count, gpu.share_milli, gpu.models), (1, Some(500), vec!["A100".to_owned()]));
    }

    #[test]
    fn every_mistake_in_every_flavor_is_told_at_once() {
        let told = problems(
            "[hardware]\nword = 1\n\
             [hardware.one]\npretty_name = \"One\"\ncpu_millicores = 0\nmemory_bytes = 17179869184\ncolour = \"red\"\n\
             gpu = { count = 2, share_milli = 1001, model = \"A100\" }\n\
             [hardware.\"Two!\"]\npretty_name = \"Two\"\ncpu_millicores = -1\nmemory_bytes = 17179869184\n",
        );
        for part in [
            "hardware.word is not a table",
            "hardware.one has no key \"colour\"",
            "hardware.one.gpu has no key \"model\"",
            "hardware.one: a share is of one device, and gpu.count is 2",
            "hardware.one: gpu.share_milli is 1001",
            "hardware.one: it needs at least 1 millicore",
            "hardware.Two!: a flavor's name has",
            "hardware.Two!: invalid value",
        ] {
            assert!(told.iter().any(|problem| problem.contains(part)), "{part}: {told:#?}");
        }
        assert_eq!(told.len(), 8, "{told:#?}");
    }

    #[test]
    fn only_what_is_there_can_be_hidden_and_never_the_first() {
        let hidden = |names: &[&str]| names.iter().map(|&name| FlavorName(name.to_owned())).collect();
        let own = BTreeMap::new();
        assert_eq!(check_hidden(&hidden(&["cpu-upgrade", "a100x8"]), &own), Vec::<String>::new());
        assert_eq!(check_hidden(&hidden(&["cpu-basic", "nonsense"]), &own).len(), 2);
    }
}
