//! The declared paths of a kind as a trie, so that a message is read once, key by key.

use super::declaration::{Field, FieldType, MAP_KEY};

pub(super) type NodeId = usize;

/// The node of the whole body.
pub(super) const ROOT: NodeId = 0;

/// Where the values of a set of fields are found. A field's place in the set is its slot.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    /// Per slot: how the elements of a list are read.
    pub(super) lists: Vec<Option<ListPlan>>,
    /// The fields themselves, by slot.
    pub(super) fields: Vec<Field>,
}

/// One key on the way, or at the end of one.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) children: Vec<(Box<str>, NodeId)>,
    /// Some children are numbers: they step into an array.
    pub(super) has_indices: bool,
    /// Fields that take the value found here.
    pub(super) leaves: Vec<Leaf>,
    /// The field whose list stands here.
    pub(super) list: Option<Leaf>,
    /// Leaves and lists here and below: what a repeated key forgets.
    pub(super) below: Vec<Leaf>,
    /// As a person would write it.
    pub(super) path: String,
}

/// A field and which of its paths this is: the lower rank wins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Leaf {
    pub(super) slot: usize,
    pub(super) rank: u8,
}

/// How one element of a list is read.
#[derive(Debug)]
pub(super) struct ListPlan {
    pub(super) plan: Plan,
    /// The member that takes the key of the map.
    pub(super) key: Option<Leaf>,
    pub(super) is_struct: bool,
}

impl Plan {
    /// Fails with the field's place and the reason where paths contradict each other.
    pub(super) fn new(fields: &[Field]) -> Result<Self, (usize, String)> {
        let mut plan = Self { nodes: vec![Node::default()], lists: Vec::new(), fields: fields.to_vec() };
        for (slot, field) in fields.iter().enumerate() {
            for (rank, path) in field.paths.iter().enumerate() {
                if path.steps() == [MAP_KEY] {
                    continue;
                }
                let rank = u8::try_from(rank).map_err(|_| (slot, "has too many paths".to_owned()))?;
                plan.insert(path.steps(), field, Leaf { slot, rank }).map_err(|what| (slot, what))?;
            }
            plan.lists.push(ListPlan::new(field).map_err(|what| (slot, what))?);
        }
        Ok(plan)
    }

    fn insert(&mut self, steps: &[String], field: &Field, leaf: Leaf) -> Result<(), String> {
        let mut node = ROOT;
        self.nodes[node].below.push(leaf);
        for step in steps {
            node = self.child(node, step);
            self.nodes[node].below.push(leaf);
        }
        let node = &mut self.nodes[node];
        match field.data_type {
            FieldType::Strings { .. } | FieldType::Structs { .. } if node.list.is_some() => {
                return Err(format!("`{}` is already the path of another list", node.path));
            }
            FieldType::Strings { .. } | FieldType::Structs { .. } => node.list = Some(leaf),
            _ => node.leaves.push(leaf),
        }
        match self.nodes.iter().find(|node| node.list.is_some() && !node.children.is_empty()) {
            Some(node) => Err(format!("`{}` cannot be a list and be descended into", node.path)),
            None => Ok(()),
        }
    }

    fn child(&mut self, parent: NodeId, step: &str) -> NodeId {
        if let Some((_, id)) = self.nodes[parent].children.iter().find(|(key, _)| **key == *step) {
            return *id;
        }
        let id = self.nodes.len();
        let dot = if parent == ROOT { "" } else { "." };
        let path = format!("{}{dot}{step}", self.nodes[parent].path);
        self.nodes.push(Node { path, ..Node::default() });
        let parent = &mut self.nodes[parent];
        parent.has_indices |= step.parse::<usize>().is_ok();
        parent.children.push((step.into(), id));
        id
    }
}

impl ListPlan {
    fn new(field: &Field) -> Result<Option<Self>, String> {
        match &field.data_type {
            FieldType::Strings { .. } => {
                let element = Field { data_type: FieldType::String, ..field.clone() };
                let leaf = Leaf { slot: 0, rank: 0 };
                let root = Node { leaves: vec![leaf], below: vec![leaf], ..Node::default() };
                let plan = Plan { nodes: vec![root], lists: vec![None], fields: vec![element] };
                Ok(Some(Self { plan, key: None, is_struct: false }))
            }
            FieldType::Structs { members, .. } => {
                let plan = Plan::new(members).map_err(|(n, what)| format!("{}: {what}", members[n].name))?;
                let key = members.iter().enumerate().find_map(|(slot, member)| {
                    let rank = member.paths.iter().position(|path| path.steps() == [MAP_KEY])?;
                    Some(Leaf { slot, rank: u8::try_from(rank).ok()? })
                });
                Ok(Some(Self { plan, key, is_struct: true }))
            }
            _ => Ok(None),
        }
    }
}
