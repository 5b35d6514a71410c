//! Pure: the list of what a Kustomization applied, as its status holds it.

use crate::api::kustomization::{InventoryEntry, ResourceInventory};

use crate::apply::object_ref::ObjectRef;

/// The objects of an inventory. Entries that cannot be read are left out; they name nothing that could be deleted.
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
    let mut seen = std::collections::BTreeSet::new();
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
