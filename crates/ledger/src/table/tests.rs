use super::*;

#[test]
fn a_rollback_restores_what_was_there() {
    let mut table = Table::default();
    table.put(1, "a");
    let mark = table.mark();
    let before = table.clone();
    table.put(1, "b");
    table.put(2, "c");
    table.remove(&1);
    table.remove(&7);
    table.put(1, "d");
    table.rollback(mark);
    assert_eq!(table, before);
    assert_eq!(table.changed(), BTreeSet::from([&1]));
    table.seal();
    assert_eq!(table.changed(), BTreeSet::new());
    table.put(1, "e");
    table.rollback(0);
    assert_eq!(table.get(&1), Some(&"a"));
}
