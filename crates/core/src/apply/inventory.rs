//! Pure: the inventory: the list of objects that a Kustomization has applied, as its status holds it.

use std::collections::BTreeSet;

use crate::api::kustomization::{InventoryEntry, ResourceInventory};
use crate::apply::object_ref::ObjectRef;

/// The objects of an inventory. Entries that are no ids are left out; they name nothing that could be deleted.
pub fn objects(inventory: Option<&ResourceInventory>) -> Vec<ObjectRef> {
    let entries = inventory
        .into_iter()
        .flat_map(|inventory| &inventory.entries);
    entries
        .filter_map(|entry| ObjectRef::parse(&entry.id, &entry.v))
        .collect()
}

/// The inventory of objects, in their order, each once.
pub fn of<'o>(objects: impl IntoIterator<Item = &'o ObjectRef>) -> ResourceInventory {
    let mut seen = BTreeSet::new();
    let entries = objects.into_iter().map(|object| InventoryEntry {
        id: object.id(),
        v: object.version.clone(),
    });
    ResourceInventory {
        entries: entries
            .filter(|entry| seen.insert(entry.id.clone()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(version: &str, name: &str) -> ObjectRef {
        ObjectRef::new(version, "ConfigMap", "n", name)
    }

    #[test]
    fn an_inventory_names_each_object_once_and_reads_back() {
        let objects = [map("v1", "b"), map("v1", "a"), map("v2", "b")];
        let inventory = of(&objects);
        let ids: Vec<&str> = inventory
            .entries
            .iter()
            .map(|entry| entry.id.as_str())
            .collect();
        assert_eq!(ids, ["n_b__ConfigMap", "n_a__ConfigMap"]);
        assert_eq!(super::objects(Some(&inventory)), &objects[..2]);
        assert!(super::objects(None).is_empty());
    }

    #[test]
    fn an_entry_that_is_no_id_names_nothing() {
        let mut inventory = of(&[map("v1", "a")]);
        inventory.entries.push(InventoryEntry {
            id: "nonsense".to_owned(),
            v: "v1".to_owned(),
        });
        assert_eq!(super::objects(Some(&inventory)), [map("v1", "a")]);
    }
}
