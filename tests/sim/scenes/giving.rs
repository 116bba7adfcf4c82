//! What a node gives to others, as its operator sees and ends it.

use super::common::{MS, PORT, S, command, errors, get, host_of, named, plain};
use super::holders::{MIB, friends, holds, reaches, sends, state, stored};
use crate::content::Content;
use crate::harness::scenario;
use crate::ids::NodeId;
use crate::original::{OriginalPeer, Task};
use crate::world::World;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The files that go out, as `transfers` shows them.
fn uploads(world: &mut World, node: NodeId) -> Vec<Value> {
    named(&command(world, node, "transfers"), "upload").into_iter().cloned().collect()
}

#[test]
fn an_upload_is_listed_with_who_fetches_it_and_ends_when_its_number_is_cancelled() {
    scenario("an_upload_is_listed", 3, |world| {
        let nodes = friends(world, 3);
        let seed = nodes[0];
        holds(world, seed, "film", &Content::generated(3, 12 * MIB));
        sends(world, seed, 2 * MIB);
        get(world, nodes[1], seed, "film");
        reaches(world, nodes[1], 2 * MIB);
        let rows = uploads(world, seed);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let number = row["number"].as_u64().expect("a number");
        assert_eq!((&row["name"], &row["size"]), (&json!("film"), &json!(12 * MIB)));
        assert_eq!(row["ip"], json!(world.ip(host_of(world, nodes[1]))));
        assert!(row["id"].is_string() && row["port"] == PORT, "{row}");
        let (bytes, rate) = (row["bytes"].as_u64(), row["rate"].as_u64());
        assert!(bytes >= Some(2 * MIB) && rate.is_some_and(|rate| (MIB..4 * MIB).contains(&rate)), "{row}");
        assert_eq!(uploads(world, nodes[1]), [Value::Null; 0], "what it fetches it gives to nobody");
        // Nothing else can be done with it.
        for line in ["pause", "resume"] {
            let said = command(world, seed, &format!("{line} {number}"));
            let error = &named(&said, "error")[0];
            assert!(error["message"].as_str().is_some_and(|text| text.contains("is an upload")), "{error}");
        }
        command(world, seed, &format!("cancel {number}"));
        assert_eq!(uploads(world, seed), [Value::Null; 0]);
        world.run_for(S * 2);
        let got = stored(world, nodes[1]);
        // Another one fetches it all the same.
        get(world, nodes[2], seed, "film");
        assert!(world.run_until(S * 5, |world| stored(world, nodes[2]) >= MIB), "{}", world.stdout(nodes[2]));
        let rows = uploads(world, seed);
        assert!(rows.len() == 1 && rows[0]["number"].as_u64() > Some(number), "{rows:?}");
        assert_eq!(rows[0]["ip"], json!(world.ip(host_of(world, nodes[2]))));
        assert!(state(world, nodes[1], "film") != "none" && got < 12 * MIB, "it keeps what it has");
        assert!(world.run_until(S * 60, |world| world.has_download(nodes[2], "film")));
        // What was whole is listed no more.
        assert_eq!(uploads(world, seed).len(), 0);
    });
}

#[test]
fn the_upload_to_an_old_node_is_listed_and_breaks_off_when_it_is_cancelled() {
    scenario("the_upload_to_an_old_node", 2, |world| {
        let lan = world.lan();
        let (here, there) = (world.host(&[lan]), world.host(&[lan]));
        let node = plain(world, here);
        holds(world, node, "song", &Content::generated(5, 6 * MIB));
        sends(world, node, 2 * MIB);
        let at = SocketAddr::from((world.ip(here), PORT));
        let task = Task::Download(at, "song".to_owned());
        let old = world.actor(there, OriginalPeer::new(PORT).then(MS * 10, task));
        let mut rows = Vec::new();
        for _ in 0..100 {
            world.run_for(MS * 100);
            rows = uploads(world, node);
            if rows.first().is_some_and(|row| row["bytes"].as_u64() > Some(MIB)) {
                break;
            }
        }
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&row["name"], &row["size"], &row["id"]), (&json!("song"), &json!(6 * MIB), &Value::Null));
        command(world, node, &format!("cancel {}", row["number"]));
        world.run_for(S * 5);
        assert_eq!(uploads(world, node).len(), 0);
        let notes = &world.log(old).notes;
        assert!(!notes.iter().any(|note| note.contains(&format!("{} bytes", 6 * MIB))), "{notes:?}");
        assert_eq!(errors(world, node), Vec::<String>::new());
    });
}
