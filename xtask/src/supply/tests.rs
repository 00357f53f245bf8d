use super::*;

#[test]
fn a_licence_is_met_by_what_is_allowed_and_by_nothing_else() {
    let allowed = allowed(
        "[bans]\nallow = [\"GPL-3.0\"]\n[licenses]\nallow = [\n    \"MIT\", # why\n    \"ISC\",\n]\n",
    );
    let check =
        |licence: &str, wanted: bool| assert_eq!(permits(licence, &allowed), wanted, "{licence}");
    check("MIT", true);
    check("MIT OR GPL-3.0", true);
    check("GPL-3.0/MIT", true);
    check("MIT AND ISC", true);
    check("(GPL-3.0 OR MIT) AND ISC", true);
    check("GPL-3.0 OR MIT AND ISC", true);
    check("", false);
    check("GPL-3.0", false);
    check("MIT AND GPL-3.0", false);
    check("MIT AND (GPL-3.0 OR LGPL-3.0)", false);
    check("MIT WITH exception", false);
    check("MIT ISC", false);
    check("MIT OR", true);
    check("(MIT", false);
}

#[test]
fn a_crate_from_elsewhere_is_found() {
    let good = format!("source = {REGISTRY}\n");
    assert!(strange_sources(&good).is_empty());
    let found = strange_sources(&format!("{good}source = \"git+https://example.org/x#1\"\n"));
    assert_eq!(found.len(), 1, "{found:?}");
}
