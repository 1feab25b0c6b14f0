//! A store as its operator changes it and as the gate reads it, and what somebody does to it who has the file and not the key.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use super::*;
use crate::secret::{Base, Held, Secrets, Source};

const KEYED: &str = "[store]\npath = \"secrets.store\"\nkey = { file = \"store.key\" }\n";
const WANTED: &str = "[secrets.stripe]\nstore = true\n[secrets.crm]\nstore = true\n\
                      [tools.pay]\nurl = \"https://pay.example\"\ncredential = { kind = \"bearer\", secret = \"stripe\" }\n";

/// A directory with a config, a store and its key.
struct Place(tempfile::TempDir);

impl Place {
    fn new(store: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.at("postern.toml"), [store, WANTED].concat()).unwrap();
        place
    }

    fn keyed() -> Self {
        Self::new(KEYED)
    }

    /// With a passphrase in a file.
    fn phrased(passphrase: &str) -> Self {
        let place = Self::new(&KEYED.replace("store.key\"", "store.key\", passphrase = true"));
        place.private("store.key", passphrase);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn private(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn desk(&self) -> Desk {
        Desk::of(&self.at("postern.toml")).unwrap()
    }

    fn set(&self, name: &str, value: &str) -> Result<bool, NoStore> {
        let (name, value) = (name.parse().unwrap(), Secret::new(value.into()));
        self.desk()
            .set((&name, 1_700_000_000), &value, Unlocking::Config)
    }

    fn remove(&self, name: &str) -> Result<(), NoStore> {
        self.desk()
            .remove(&name.parse().unwrap(), Unlocking::Config)
    }

    /// What the gate has of a secret.
    fn loaded(&self, name: &str) -> Result<String, String> {
        let settings = self.desk().settings();
        let text = format!(r#"{{"{name}":{{"store":true}}}}"#);
        let sources: std::collections::BTreeMap<SecretName, Source> =
            serde_json::from_str(&text).unwrap();
        let base = Base {
            directory: self.0.path(),
            store: Some(&settings),
            taken: None,
        };
        let (secrets, problems) = Secrets::load(&sources, base, &BTreeSet::new(), &Held::default());
        if let Some(problem) = problems.first() {
            assert_eq!(problem.path, ["secrets", name, "store"]);
            return Err(problem.message.clone());
        }
        let value = secrets.get(&name.parse().unwrap()).unwrap();
        Ok(String::from_utf8(value.expose().to_vec()).unwrap())
    }

    fn file(&self) -> Value {
        serde_json::from_slice(&fs::read(self.at("secrets.store")).unwrap()).unwrap()
    }

    fn put(&self, file: &Value) {
        fs::write(self.at("secrets.store"), file.to_string()).unwrap();
    }
}

#[test]
fn what_is_set_is_loaded_and_what_is_removed_is_not() {
    let place = Place::keyed();
    assert!(
        place
            .loaded("stripe")
            .unwrap_err()
            .contains("postern secrets set")
    );
    assert!(!place.set("stripe", "sk_live_1").unwrap());
    assert!(!place.set("crm", "key-of-crm").unwrap());
    assert_eq!(place.loaded("stripe").unwrap(), "sk_live_1");
    assert!(place.set("stripe", "sk_live_2").unwrap());
    assert_eq!(place.loaded("stripe").unwrap(), "sk_live_2");
    assert_eq!(place.loaded("crm").unwrap(), "key-of-crm");
    place.remove("stripe").unwrap();
    let gone = place.loaded("stripe").unwrap_err();
    assert!(gone.contains("there is no `stripe` in it"), "{gone}");
    assert_eq!(place.loaded("crm").unwrap(), "key-of-crm");
    assert!(matches!(place.remove("stripe"), Err(NoStore::Unset { .. })));
}

#[test]
fn the_file_is_the_owners_alone_and_shows_names_and_no_values() {
    let place = Place::keyed();
    place.set("stripe", "sk_live_1").unwrap();
    for name in ["secrets.store", "store.key"] {
        let mode = fs::metadata(place.at(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // Nothing that was half written is left.
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 3);
    let text = fs::read_to_string(place.at("secrets.store")).unwrap();
    assert!(
        text.contains("stripe") && !text.contains("sk_live_1"),
        "{text}"
    );
    let sealed = place.file()["secrets"]["stripe"]["sealed"].clone();
    place.set("stripe", "sk_live_1").unwrap();
    assert_ne!(place.file()["secrets"]["stripe"]["sealed"], sealed);
}

#[test]
fn a_list_needs_no_key_and_names_what_is_used_and_what_is_missing() {
    let place = Place::keyed();
    place.set("stripe", "sk_live_1").unwrap();
    place.set("other", "unused").unwrap();
    fs::remove_file(place.at("store.key")).unwrap();
    let kept = place.desk().list().unwrap();
    let told = kept
        .iter()
        .map(|one| (one.name.as_str(), one.set, one.wanted));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("crm", None, true),
            ("other", Some(1_700_000_000), false),
            ("stripe", Some(1_700_000_000), true)
        ]
    );
    assert_eq!(kept[2].used_by, ["tool pay"]);
}

#[test]
fn entries_cannot_be_swapped_renamed_put_back_or_taken_out() {
    let place = Place::keyed();
    place.set("stripe", "sk_live_1").unwrap();
    place.set("crm", "key-of-crm").unwrap();
    let old = place.file();
    place.set("stripe", "sk_live_2").unwrap();
    let good = place.file();
    let mut swapped = good.clone();
    swapped["secrets"]["stripe"] = good["secrets"]["crm"].clone();
    swapped["secrets"]["crm"] = good["secrets"]["stripe"].clone();
    let mut put_back = good.clone();
    put_back["secrets"]["stripe"] = old["secrets"]["stripe"].clone();
    let mut taken_out = good.clone();
    taken_out["secrets"].as_object_mut().unwrap().remove("crm");
    let mut earlier = good.clone();
    earlier["secrets"]["stripe"]["set"] = 1.into();
    for changed in [swapped, put_back, taken_out, earlier] {
        place.put(&changed);
        let error = place.loaded("stripe").unwrap_err();
        assert!(error.contains("damaged"), "{error}");
        assert!(matches!(
            place.set("crm", "x"),
            Err(NoStore::Damaged { .. })
        ));
        assert_eq!(place.file(), changed, "what is damaged is left as it is");
    }
    place.put(&good);
    assert_eq!(place.loaded("stripe").unwrap(), "sk_live_2");
}

#[test]
fn a_sealed_value_opens_under_its_own_name_time_and_store_alone() {
    let material = key::Material {
        secret: Secret::new("ab".repeat(32).into()),
        passphrase: false,
        from: String::new(),
    };
    let [stripe, crm]: [SecretName; 2] = ["stripe", "crm"].map(|name| name.parse().unwrap());
    let keys = material.keys([1; key::ID_BYTES], None).unwrap();
    let sealed = keys
        .close((&stripe, 7), &Secret::new(b"sk_1".to_vec()))
        .unwrap();
    assert!(keys.reveal((&stripe, 7), &sealed).unwrap().is(b"sk_1"));
    assert!(keys.reveal((&crm, 7), &sealed).is_none());
    assert!(keys.reveal((&stripe, 8), &sealed).is_none());
    let other = material.keys([2; key::ID_BYTES], None).unwrap();
    assert!(other.reveal((&stripe, 7), &sealed).is_none());
    assert!(keys.reveal((&stripe, 7), &sealed[..20]).is_none());
    let mut changed = sealed.clone();
    changed[15] ^= 1;
    assert!(keys.reveal((&stripe, 7), &changed).is_none());
}

#[test]
fn what_is_wrong_is_said_to_people_and_changes_nothing() {
    let place = Place::keyed();
    place.set("stripe", "sk_live_1").unwrap();
    let good = place.file();
    let said = || place.loaded("stripe").unwrap_err();
    let key = fs::read_to_string(place.at("store.key")).unwrap();
    place.private("store.key", &"0f".repeat(32));
    assert!(said().contains("store.key does not open it"), "{}", said());
    assert!(place.set("stripe", "x").is_err());
    place.private("store.key", "hunter2");
    assert!(said().contains("64 hexadecimal digits") && !said().contains("hunter2"));
    fs::remove_file(place.at("store.key")).unwrap();
    assert!(said().contains("store.key: No such file"), "{}", said());
    assert!(place.set("stripe", "x").is_err(), "no other key is made");
    assert!(!place.at("store.key").exists());
    place.private("store.key", &key);
    for (name, mode) in [("store.key", 0o640), ("secrets.store", 0o604)] {
        fs::set_permissions(place.at(name), fs::Permissions::from_mode(mode)).unwrap();
        assert!(
            said().contains(&format!("{name} can be read by others")),
            "{}",
            said()
        );
        fs::set_permissions(place.at(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    place.put(&serde_json::json!({ "version": 2, "more": [] }));
    assert!(said().contains("later version"));
    fs::write(place.at("secrets.store"), "sk_live_1").unwrap();
    assert!(said().contains("damaged") && !said().contains("sk_live_1"));
    place.put(&good);
    let error = place.set("stripe", "two\nlines").unwrap_err().to_string();
    assert!(
        error.contains("line break") && !error.contains("two"),
        "{error}"
    );
    assert!(place.set("stripe", "").is_err());
    assert_eq!(place.file(), good);
    assert_eq!(place.loaded("stripe").unwrap(), "sk_live_1");
}

#[test]
fn a_passphrase_is_stretched_and_is_no_key() {
    let place = Place::phrased("too short");
    assert!(matches!(
        place.set("stripe", "x"),
        Err(NoStore::ShortPassphrase(_))
    ));
    assert!(!place.at("secrets.store").exists());
    place.private("store.key", "correct horse battery staple\n");
    place.set("stripe", "sk_live_1").unwrap();
    assert_eq!(place.file()["pbkdf2_hmac_sha256"], 600_000);
    assert_eq!(place.loaded("stripe").unwrap(), "sk_live_1");
    let (name, value) = ("crm".parse().unwrap(), Secret::new(b"key-of-crm".to_vec()));
    let typed = |text: &str| Unlocking::Typed(Secret::new(text.into()));
    let typing = |text| place.desk().set((&name, 1), &value, typed(text));
    assert!(matches!(
        typing("correct horse"),
        Err(NoStore::WrongKey { .. })
    ));
    assert!(!typing("correct horse battery staple").unwrap());
    let mut weaker = place.file();
    weaker["pbkdf2_hmac_sha256"] = 1.into();
    place.put(&weaker);
    assert!(place.loaded("stripe").unwrap_err().contains("damaged"));
    weaker["pbkdf2_hmac_sha256"] = u32::MAX.into();
    place.put(&weaker);
    assert!(place.loaded("stripe").unwrap_err().contains("damaged"));
    fs::write(place.at("postern.toml"), [KEYED, WANTED].concat()).unwrap();
    assert!(
        place
            .loaded("stripe")
            .unwrap_err()
            .contains("passphrase = true")
    );
}

#[test]
fn changes_at_once_are_made_one_after_another() {
    let place = Place::keyed();
    place.set("stripe", "sk_live_1").unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let place = &place;
            scope.spawn(move || place.set(&format!("s{number}"), "value").unwrap());
        }
    });
    assert_eq!(place.desk().list().unwrap().len(), 10);
    assert_eq!(place.loaded("s7").unwrap(), "value");
}

#[test]
fn a_key_may_come_through_a_pipe_and_one_that_is_a_credential_is_the_services_alone() {
    let place = Place::new(&KEYED.replace(
        "file = \"store.key\"",
        "credential = \"no-such-credential\"",
    ));
    let error = place.set("stripe", "sk_live_1").unwrap_err().to_string();
    assert!(error.contains("--key-file"), "{error}");
    let pipe = place.at("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (name, value) = (
        "stripe".parse().unwrap(),
        Secret::new(b"sk_live_1".to_vec()),
    );
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&pipe, "ab".repeat(32)).unwrap());
        let set = place.desk().set((&name, 1), &value, Unlocking::File(&pipe));
        assert!(!set.unwrap());
    });
    let other = place.at("other");
    place.private("other", &"cd".repeat(32));
    let wrong = place.desk().remove(&name, Unlocking::File(&other));
    assert!(matches!(wrong, Err(NoStore::WrongKey { .. })));
}

#[test]
fn a_check_sees_what_it_can_without_the_key() {
    let place = Place::keyed();
    let [stripe, crm]: [SecretName; 2] = ["stripe", "crm"].map(|name| name.parse().unwrap());
    let look = |name| inspect(&place.desk().settings(), place.0.path(), name);
    assert!(matches!(look(&stripe), Err(NoStore::None { .. })));
    place.set("stripe", "sk_live_1").unwrap();
    assert!(look(&stripe).is_ok());
    assert!(matches!(look(&crm), Err(NoStore::Unset { .. })));
    fs::remove_file(place.at("store.key")).unwrap();
    assert!(matches!(look(&stripe), Err(NoStore::Unfit(_))));
}
