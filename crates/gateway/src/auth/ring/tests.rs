use super::*;
use crate::auth::key::{Limits, Scope};
use crate::auth::{Keys, hash};
use axum::http::{HeaderMap, HeaderValue};

fn add(ring: &Ring, name: &str, scopes: &[Scope], expires: Option<u64>) -> String {
    let (key, secret) = Key::new(name, scopes, Limits::default(), (1, expires)).unwrap();
    ring.change(|keys| {
        keys.push(key);
        Ok::<_, io::Error>(())
    })
    .unwrap();
    secret
}

fn ask(keys: &Keys, secret: &str, scope: Scope) -> Result<(), Code> {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(secret).unwrap());
    keys.admit(&headers, scope).map(drop).map_err(|error| error.code)
}

#[test]
fn a_key_opens_what_it_is_for_until_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let (serving, changing) = (Ring::of(folder.path().into()), Ring::of(folder.path().into()));
    let keys = Keys::default().with_ring(Arc::new(serving));
    assert!(keys.is_open());
    let secret = add(&changing, "laptop", &[Scope::Inference], None);
    let owner = add(&changing, "owner", &[Scope::Admin], None);
    let late = add(&changing, "late", &[Scope::Inference], Some(2));
    assert!(!keys.is_open());
    assert_eq!(ask(&keys, &secret, Scope::Inference), Ok(()));
    assert_eq!(ask(&keys, &secret, Scope::Files), Err(Code::InsufficientScope));
    assert_eq!(ask(&keys, &owner, Scope::Files), Ok(()));
    assert_eq!(ask(&keys, &late, Scope::Inference), Err(Code::InvalidApiKey));
    assert_eq!(ask(&keys, "mashaa_guess", Scope::Inference), Err(Code::InvalidApiKey));
    changing
        .change(|keys| {
            keys[0].revoked = Some(3);
            Ok::<_, io::Error>(())
        })
        .unwrap();
    assert_eq!(ask(&keys, &secret, Scope::Inference), Err(Code::InvalidApiKey));
    // No secret is in any file.
    let text = fs::read_to_string(folder.path().join("keys.json")).unwrap();
    assert!(!text.contains(&secret) && text.contains(&crate::observe::hex(&hash(&secret))));
}

#[test]
fn a_ring_that_cannot_be_read_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ring = Ring::of(folder.path().into());
    let secret = add(&ring, "k", &[Scope::Admin], None);
    let file = folder.path().join("keys.json");
    let whole = fs::read_to_string(&file).unwrap();
    let keys = Keys::new(&["master".to_owned()]).with_ring(Arc::new(ring));
    for wrong in [
        whole[..whole.len() / 2].to_owned(),
        whole.replace("\"version\": 1", "\"version\": 2"),
        whole.replace("admin", "everything"),
    ] {
        fs::write(&file, wrong).unwrap();
        assert_eq!(ask(&keys, &secret, Scope::Models), Err(Code::NotReady));
        assert_eq!(ask(&keys, "master", Scope::Models), Ok(()));
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(ask(&keys, &secret, Scope::Models), Err(Code::NotReady));
    assert!(!keys.is_open());
    fs::write(&file, &whole).unwrap();
    assert_eq!(ask(&keys, &secret, Scope::Models), Ok(()));
}

#[test]
fn every_key_comes_back_as_it_was_written() {
    let limits = Limits { spend: Some(1), tokens_per_day: Some(2), ..Limits::default() };
    let scopes: Vec<Scope> = Scope::ALL.into_iter().map(|(scope, _)| scope).collect();
    let (key, _) = Key::new("a.b-c_1", &scopes, limits, (5, Some(6))).unwrap();
    assert_eq!(Key::parse(&key.json()), Some(key));
    for name in ["", "-a", "a b", "a/b", &"a".repeat(65)] {
        assert!(!Key::is_name(name), "{name}");
    }
}
