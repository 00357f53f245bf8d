use super::*;

#[test]
fn a_unit_vector_has_length_one_whatever_its_scale() {
    for scale in [1i64, 1_000, 1 << 40, 1 << 58] {
        let unit = unit(&[3 * scale, -4 * scale, 0]);
        assert_eq!(unit, [644_245_094, -858_993_459, 0], "{scale}");
    }
    assert_eq!(unit(&[0, 0]), [0, 0]);
    assert_eq!(unit(&[7]), [1 << 30]);
    assert!(unit(&[]).is_empty());
}

#[test]
fn steps_hold_whole_texts_and_no_more_than_their_rows() {
    let (short, long) = (vec![0u32; 300], vec![0u32; 2_000]);
    assert_eq!(step_size(&[&short, &short, &short, &short]), 3);
    assert_eq!(step_size(&[&long, &short]), 1);
    let (rows, pages) = places(&[&short, &[1], &short]);
    assert_eq!(rows, [0..300, 300..301, 301..601]);
    assert_eq!(pages, [0..19, 19..20, 20..39]);
}
