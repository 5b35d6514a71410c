//! Private words, and the words of Kubernetes, Flux, External Secrets, AWS and distributed systems that stand for them.

/// A private word, and what to write.
pub(crate) type Word = (&'static str, &'static str);

/// Names that no type may have. As the name of a value some are plain English.
pub(crate) const TYPES: [Word; 37] = [
    ("Gate", "`PrioritySemaphore`"),
    ("Gates", "priority semaphores by name"),
    ("Pass", "`Permit`"),
    ("Causes", "error chain"),
    ("Chance", "random source"),
    ("Faults", "failpoints"),
    ("Uses", "`DependencyIndex`"),
    ("Used", "a dependency"),
    ("Synced", "last-sync cache"),
    ("Syncs", "last-sync cache"),
    ("Memory", "reconcile cache"),
    ("Records", "last-applied state"),
    ("Claims", "ownership"),
    ("Board", "`ReadScheduler`"),
    ("Topic", "an entry of the read scheduler"),
    ("Question", "`SecretId`"),
    ("Print", "`Digest`"),
    ("Heard", "the effects of a call's result"),
    ("Heeded", "the effects of a call's result"),
    ("Told", "answer"),
    ("Telling", "delivery"),
    ("Stirred", "`WakeUps`"),
    ("Sufferers", "blocked subscribers"),
    ("Amend", "spec overlay"),
    ("Desk", "preview"),
    ("Posts", "event webhook"),
    ("Trial", "dry run"),
    ("How", "`ApplyOptions`"),
    ("Terms", "`PlanOptions`"),
    ("Habits", "`ApplierConfig`"),
    ("Found", "a name that says of what"),
    ("Known", "a name that says of what"),
    ("Outcome", "a name that says of what"),
    ("Answer", "a name that says of what"),
    ("Live", "a name that says of what"),
    ("Unit", "`NamespacedName`"),
    ("SourceKey", "`ObjectKey`"),
];

/// Names that no module may have.
pub(crate) const MODULES: [Word; 15] = [
    ("gate", "priority semaphore"),
    ("chance", "random"),
    ("causes", "error chain"),
    ("faults", "failpoints"),
    ("uses", "dependency index"),
    ("synced", "last-sync cache"),
    ("memory", "reconcile cache"),
    ("records", "last-applied state"),
    ("claims", "ownership"),
    ("board", "read scheduler"),
    ("heard", "call result"),
    ("telling", "delivery"),
    ("amend", "spec overlay"),
    ("desk", "preview"),
    ("posts", "event webhook"),
];

/// Words that stand in no name at all, of whatever it is the name.
pub(crate) const PARTS: [Word; 10] = [
    ("urge", "refresh now, request now"),
    ("poke", "refresh now, request now"),
    ("sufferers", "blocked subscribers"),
    ("sufferer", "blocked subscriber"),
    ("stirs", "wake-ups"),
    ("heeded", "effects"),
    ("thinking", "run blocking"),
    ("think", "run blocking"),
    ("habits", "`ApplierConfig`"),
    ("desk", "preview"),
];
