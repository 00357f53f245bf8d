//! Mirrors that lie are named, the next one delivers, and the exit code says what happened.

use store::cid::Cid;

use crate::mirror::{Behaviour, Mirror};
use crate::world::World;

/// A liar alone ends with `code`; with an honest mirror after it, it is named and forgiven.
fn check(world: &World, behaviour: &Behaviour, code: i32, reason: &str) {
    let liar = Mirror::new(world.source.clone(), behaviour.clone());
    world.catalogue(&[&liar.url]);
    let ended = world.run(&["model", "pull"]);
    let told = &ended.stderr;
    assert_eq!(ended.code, Some(code), "{reason}: {told}");
    assert!(told.contains(&liar.url) && told.contains(reason), "{reason}: {told}");
    assert!(!world.has_model());
    world.check(reason);

    let honest = Mirror::new(world.source.clone(), Behaviour::Honest);
    world.catalogue(&[&liar.url, &honest.url]);
    let ended = world.run(&["model", "pull"]);
    let told = &ended.stderr;
    assert_eq!(ended.code, Some(0), "{reason}: {told}");
    assert!(told.contains(&liar.url) && told.contains(reason), "{reason}: {told}");
    // A redirect of the limit's length is followed before it is given up.
    assert!(liar.request_count() <= 12, "{} requests", liar.request_count());
    world.check(reason);
    assert_eq!(world.run(&["model", "rm", "random"]).code, Some(0));
}

#[test]
fn liars_are_named_and_the_next_mirror_is_asked() {
    let world = World::new();
    let mut other = world.source.clone();
    other[1_000_000] ^= 1;
    let named = Cid::of(&other).to_string();
    check(&world, &Behaviour::Other(other), 4, &named);
    check(&world, &Behaviour::Endless(b"GGUF".to_vec()), 4, "got the bytes of");
    check(&world, &Behaviour::Other(world.source[..1000].to_vec()), 1, "end at 1000 of");
    check(&world, &Behaviour::Status(500), 1, "status 500");
    check(&world, &Behaviour::Redirects, 1, "redirects");
}

#[test]
fn an_artifact_other_than_the_catalogues_is_refused_and_both_are_named() {
    let world = World::new();
    let mirror = Mirror::new(world.source.clone(), Behaviour::Honest);
    world.catalogue(&[&mirror.url]);
    let made = world.run(&["model", "pull"]).stdout;
    let made = made.split_whitespace().last().unwrap().to_owned();
    assert_eq!(world.run(&["model", "rm", "random"]).code, Some(0));

    let wanted = Cid::of(b"another artifact").to_string();
    world.catalogue_with_artifact(&[&mirror.url], &wanted, 16);
    let ended = world.run(&["model", "pull"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains(&wanted) && ended.stderr.contains(&made), "{}", ended.stderr);
    assert!(!world.has_model());

    world.catalogue_with_artifact(&[&mirror.url], &made, 16);
    assert_eq!(world.run(&["model", "pull"]).code, Some(0));
    world.check("after the right artifact");
}
