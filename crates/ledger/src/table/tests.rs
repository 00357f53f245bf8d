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
    table.commit();
    assert_eq!(table.take_changed(), BTreeSet::from([1]));
    assert_eq!(table.take_changed(), BTreeSet::new());
}
