//! What happens in the folders of a node while it runs, as if another program did it. A node that watches the
//! folder hears of it, by the chances of its faults.

use crate::content::Content;
use crate::disk::Disk;
use crate::ids::NodeId;
use crate::node::Node;
use crate::world::World;
use distrishare::machine::Dir;

impl World {
    /// Puts a file into a node's shared folder: a new one, also where one of that name was. `name` may lie in folders,
    /// which are made.
    pub(crate) fn share(&mut self, node: NodeId, name: &str, content: impl Into<Content>) {
        let content = content.into();
        self.env.truth.add(name, &content);
        self.edit_shared(node, |disk| {
            disk.put(Dir::Shared, name, content);
        });
    }

    /// Writes another content into the same file: what has it open reads the new one.
    pub(crate) fn rewrite_shared(&mut self, node: NodeId, name: &str, content: impl Into<Content>) {
        let content = content.into();
        self.env.truth.add(name, &content);
        self.edit_shared(node, |disk| disk.rewrite(Dir::Shared, name, content));
    }

    /// Gives a file, or a folder with all that is in it, another name, over whatever has it.
    pub(crate) fn rename_shared(&mut self, node: NodeId, from: &str, to: &str) {
        if let Some(content) = self.nodes[node.0].disk.content(Dir::Shared, from).cloned() {
            self.env.truth.add(to, &content);
        }
        self.edit_shared(node, |disk| disk.rename(Dir::Shared, from, to));
    }

    /// Removes a file, or a folder with all that is in it. What has a file open goes on reading it.
    pub(crate) fn remove_shared(&mut self, node: NodeId, name: &str) {
        self.edit_shared(node, |disk| match disk.content(Dir::Shared, name) {
            Some(_) => disk.remove(Dir::Shared, name),
            None => disk.remove_folder(Dir::Shared, name),
        });
    }

    fn edit_shared(&mut self, node: NodeId, how: impl FnOnce(&mut Disk)) {
        let disk = &mut self.nodes[node.0].disk;
        disk.now = self.env.now;
        how(disk);
        self.with(node, Node::see_changes);
    }

    // What other programs do to unfinished downloads.

    /// Changes an unfinished download or a journal by hand; its time is kept or is that of now.
    pub(crate) fn edit_part(
        &mut self,
        node: NodeId,
        name: &str,
        keep_mtime: bool,
        how: impl Fn(&mut Content),
    ) {
        let disk = &mut self.nodes[node.0].disk;
        disk.now = self.env.now;
        disk.by_hand.insert(name.to_owned());
        assert!(disk.tamper(Dir::Parts, name, keep_mtime, how), "there is no {name:?}");
    }

    /// Removes one, also while the node has it open.
    pub(crate) fn remove_part(&mut self, node: NodeId, name: &str) {
        let disk = &mut self.nodes[node.0].disk;
        disk.by_hand.insert(name.to_owned());
        disk.remove(Dir::Parts, name);
    }
}
