//! `deploy/spaceport.toml` says what the program does.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{Deserialize, Deserializer, Visitor, value};
use serde::forward_to_deserialize_any;
use spaceport_core::gpu::schedule::Policy;
use toml::{Table, Value};

use super::*;

const FILE: &str = include_str!("../../../../deploy/spaceport.toml");

/// Which lines are taken: all, or only those that say a default.
#[derive(Clone, Copy, PartialEq)]
enum Take {
    All,
    Defaults,
}

/// The file with its settings in force. A `#` that no space follows is a setting; it is an example when it is marked so
/// or when its table is commented out as well.
fn settings(take: Take) -> String {
    let mut lines = Vec::new();
    let mut in_example = false;
    for line in FILE.lines() {
        let setting = line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '));
        if line.starts_with('[') || setting.is_some_and(|setting| setting.starts_with('[')) {
            in_example = setting.is_some();
        }
        let is_example = in_example || line.ends_with("# example");
        match setting {
            Some(_) if is_example && take == Take::Defaults => {}
            Some(setting) => lines.push(setting),
            None => lines.push(line),
        }
    }
    lines.join("\n")
}

/// The keys of a section.
fn keys<T: for<'de> Deserialize<'de>>() -> BTreeSet<String> {
    let mut fields: &'static [&'static str] = &[];
    // It is not read: what was asked for is of interest.
    let _ = T::deserialize(Asked(&mut fields));
    fields.iter().map(|key| (*key).to_owned()).collect()
}

struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(serde::de::Error::custom(name))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The tables at a place: one, each of a list, or each of a table of tables (`*`).
fn tables<'a>(root: &'a Table, place: &str) -> Vec<&'a Table> {
    let mut at = vec![root];
    for part in place.split('.').filter(|part| !part.is_empty()) {
        let below = at.iter().flat_map(|table| match part {
            "*" => table.values().collect::<Vec<_>>(),
            part => table.get(part).into_iter().collect(),
        });
        at = below
            .flat_map(|value| match value {
                Value::Table(table) => vec![table],
                Value::Array(list) => list.iter().filter_map(Value::as_table).collect(),
                _ => Vec::new(),
            })
            .collect();
    }
    at
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let of = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
    let mut gpu_keys = of(&gpu::KEYS);
    gpu_keys.extend(of(&["scheduler", "idle", "weights"]));
    let sections = BTreeMap::from([
        ("", keys::<Config>()),
        ("docker", keys::<Docker>()),
        ("builder", keys::<Builder>()),
        ("proxy", keys::<Proxy>()),
        ("git", keys::<Git>()),
        ("objects", keys::<Objects>()),
        ("webhooks", keys::<Webhooks>()),
        ("oidc", keys::<OidcSettings>()),
        ("oidc.organizations", keys::<oidc::Mapping>()),
        ("log", keys::<Log>()),
        ("capacity", keys::<Capacity>()),
        ("gpu", gpu_keys),
        ("gpu.scheduler", keys::<Policy>()),
        ("gpu.idle", keys::<gpu::policy::Idle>()),
        ("gpu.device", of(&gpu::DEVICE_KEYS)),
        ("hardware.*", of(&hardware::FLAVOR_KEYS)),
        ("hardware.*.gpu", of(&hardware::GPU_KEYS)),
    ]);
    let file: Table = toml::from_str(&settings(Take::All)).unwrap();
    for (place, expected) in sections {
        assert!(!expected.is_empty(), "[{place}] has keys");
        let written: BTreeSet<String> = tables(&file, place).into_iter().flat_map(Table::keys).cloned().collect();
        assert_eq!(written, expected, "[{place}]");
    }
}

#[test]
fn the_reference_is_read_without_a_mistake() {
    for (take, flavors) in [(Take::All, 2), (Take::Defaults, 0)] {
        let text = settings(take);
        let mut config: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        // A file it names, and what has no default and is needed beside an issuer.
        config.ca_bundle = None;
        if take == Take::All {
            config.oidc.client_id = "spaceport".to_owned();
        }
        assert_eq!(config.check(), Vec::<String>::new());
        assert_eq!(config.machine.flavors.len(), flavors);
    }
}

#[test]
fn the_reference_has_the_defaults_of_the_program() {
    let mut said: Config = toml::from_str(&settings(Take::Defaults)).unwrap();
    let mut default = Config::default();
    assert_eq!((said.check(), default.check()), (Vec::new(), Vec::new()));
    let written: Table = toml::from_str(&settings(Take::Defaults)).unwrap();
    for place in ["", "docker", "builder", "proxy", "git", "objects", "webhooks", "oidc", "log", "capacity"] {
        let all = Table::try_from(&default).unwrap();
        for key in tables(&all, place).into_iter().flat_map(Table::keys) {
            // Tables without a default of their own, and a list of tables.
            let is_open = [("", "hardware"), ("oidc", "organizations")].contains(&(place, key));
            let said = tables(&written, place).iter().any(|table| table.contains_key(key));
            assert!(said || is_open, "[{place}] {key} has a default and is marked as an example");
        }
    }
    let gpu = std::mem::take(&mut said.gpu);
    for (key, value) in [("nvidia", Value::Boolean(true)), ("attach", Value::String("nvidia".to_owned()))] {
        assert_eq!(gpu.get(key), Some(&value), "{key}");
    }
    assert_eq!(format!("{:?}", said.machine), format!("{:?}", default.machine));
    assert_eq!(said.to_toml().unwrap(), default.to_toml().unwrap());
}
