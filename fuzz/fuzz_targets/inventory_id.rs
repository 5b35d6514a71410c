//! Any id of an inventory is no object, or an object that prints as an id that names it again. A name with `:` or `_` is
//! none that Kubernetes has together, and two such names may share an id.
#![no_main]

use libfuzzer_sys::fuzz_target;
use overlayd_core::apply::object_ref::ObjectRef;

fuzz_target!(|input: (&str, &str)| {
    let (id, version) = input;
    if let Some(object) = ObjectRef::parse(id, version)
        && !object.name.contains([':', '_'])
    {
        assert_eq!(ObjectRef::parse(&object.id(), version), Some(object));
    }
});
