//! Registered nodes, and whose machines may compute.

use ledger::nodes::{Registration, Unfit, Workers};
use types::measure::*;

use crate::world::*;

fn registration(world: &World, number: u64) -> Option<(types::id::Address, bool)> {
    let found = world.state.registration(&node_secret(number).key());
    found.map(|Registration { account, is_members }| (account, is_members))
}

#[test]
fn a_node_is_a_members_for_as_long_as_its_account_is_a_member() {
    let mut world = World::mutual();
    let action = world.register_node("amal", 1, 9);
    world.act("amal", action);
    world.act("amal", transfer("stranger", "9"));
    let action = world.register_node("stranger", 2, 9);
    world.act("stranger", action);
    assert_eq!(registration(&world, 1), Some((address("amal"), true)));
    assert_eq!(registration(&world, 2), Some((address("stranger"), false)));
    assert_eq!(registration(&world, 3), None);
    let everyone = ["badr", "dina", "hadi"];
    let amal = || address("amal");
    world.pass(&everyone, vec![Measure::SuspendMember(SuspendMember { account: amal() })]);
    assert_eq!(registration(&world, 1), Some((address("amal"), false)));
    world.pass(&everyone, vec![Measure::ReinstateMember(ReinstateMember { account: amal() })]);
    assert_eq!(registration(&world, 1), Some((address("amal"), true)));
    world.act("amal", unregister_node(1));
    assert_eq!(registration(&world, 1), None);
    assert_eq!(world.state.nodes_after(None).count(), 1);
    assert_eq!(world.state.nodes_of(&amal()).count(), 0);
}

#[test]
fn members_say_by_vote_whose_machines_compute() {
    let mut world = World::mutual();
    assert_eq!(world.state.workers(), Workers::Admitted);
    let everyone = ["amal", "badr", "dina", "hadi"];
    for workers in Workers::ALL {
        world.pass(&everyone, vec![set(Parameter::Workers, workers.number().into())]);
        assert_eq!(world.state.workers(), *workers);
    }
}

#[test]
fn each_rule_lets_in_whom_it_says() {
    let account = address("amal");
    let (members, others) =
        (Registration { account, is_members: true }, Registration { account, is_members: false });
    let none = Err(Unfit::NotAdmitted);
    let cases = [
        (Workers::Anyone, [Ok(()), Ok(()), Ok(()), Ok(())]),
        (Workers::Admitted, [none, Ok(()), Ok(()), Ok(())]),
        (Workers::Registered, [none, Err(Unfit::NotRegistered), Ok(()), Ok(())]),
        (
            Workers::Members,
            [none, Err(Unfit::NotRegistered), Err(Unfit::NotMembers(account)), Ok(())],
        ),
    ];
    for (workers, wanted) in cases {
        let nodes =
            [(false, Some(&members)), (true, None), (true, Some(&others)), (true, Some(&members))];
        assert_eq!(nodes.map(|(pass, known)| workers.admit(pass, known)), wanted, "{workers}");
    }
}
