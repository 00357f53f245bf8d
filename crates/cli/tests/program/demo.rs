//! The demonstration, from its first line to the verdict.

use crate::machines::Machine;

#[test]
fn a_coop_convicts_its_cheat_by_a_computation_and_its_sums_hold() {
    let world = Machine::world();
    let told = world.run(&["demo", "--model", "random", "--lang", "ar"]);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    for line in ["العامل مخطئ", "وتصل إلى الحكم نفسه", "مجموع كل الحسابات 0"]
    {
        assert!(told.stdout.contains(line), "{line} is missing in {}", told.stdout);
    }
    assert!(!world.home("demo").exists(), "nothing is left of it");
    let wrong = world.run(&["demo", "--lang", "fr"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}
