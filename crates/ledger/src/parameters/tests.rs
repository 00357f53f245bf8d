use std::fmt::Write;

use expect_test::expect_file;

use super::*;

#[test]
fn every_default_is_in_its_range() {
    for &parameter in Parameter::ALL {
        let Rule { min, max, default, .. } = rule(parameter);
        assert!(min <= default && default <= max, "{parameter}");
    }
}

#[test]
fn every_value_of_workers_has_a_meaning() {
    let Rule { min, max, default, .. } = rule(Parameter::Workers);
    let meant = crate::nodes::Workers::ALL.iter().map(|it| u64::from(it.number()));
    assert!(meant.eq(min..=max));
    assert_eq!(default, u64::from(crate::nodes::Workers::Admitted.number()));
}

#[test]
fn every_rule_of_voting_needs_the_constitutions_bar() {
    for &tier in Tier::ALL {
        let Bar { quorum, threshold, voting, timelock } = bar(tier);
        for parameter in [quorum, threshold, voting, timelock] {
            assert_eq!(rule(parameter).tier, Tier::Constitution, "{parameter}");
        }
    }
}

/// `UPDATE_EXPECT=1` writes the table.
#[test]
fn the_specification_has_the_ranges_of_the_code() {
    const HEAD: &str =
        "| parameter | min | max | default | bar |\n| --- | --- | --- | --- | --- |\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/ledger.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(HEAD).expect("the table is there");
    let after: Vec<&str> = rest.lines().skip_while(|line| line.starts_with('|')).collect();
    let mut made = format!("{before}{HEAD}");
    for &parameter in Parameter::ALL {
        let Rule { min, max, default, tier } = rule(parameter);
        writeln!(made, "| `{parameter}` | {min} | {max} | {default} | {tier} |").unwrap();
    }
    writeln!(made, "{}", after.join("\n")).unwrap();
    expect_file![path].assert_eq(&made);
}
