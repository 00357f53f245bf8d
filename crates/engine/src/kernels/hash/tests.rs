use super::*;

#[test]
fn every_instruction_set_and_size_gives_the_digests_of_one_after_the_other() {
    let bytes: Vec<u8> =
        (0..200_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    // Around the ends of the first three blocks, and cells of heads.
    let sizes = (1..200).chain([260, 516, 1_028]);
    for size in sizes {
        for (first, count) in [(0, 1), (1, 15), (1, 16), (0, 17), (7, 50)] {
            let messages = &bytes[size..][..size * count - size / 3];
            let right: Vec<[u8; 32]> = messages
                .chunks(size)
                .map(|it| Sha256::new().chain_update([first]).chain_update(it).finalize().into())
                .collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                assert_eq!(each(isa, first, messages, size), right, "{isa:?}, {count} of {size}");
            }
        }
    }
    assert!(each(Isa::best(), 0, &[], 64).is_empty());
}
