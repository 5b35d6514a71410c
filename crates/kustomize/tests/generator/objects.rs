//! The objects of a generated tree.

use super::Tree;

impl Tree {
    pub(super) fn object(&mut self) -> String {
        const KINDS: [&str; 17] = [
            "Deployment",
            "Deployment",
            "StatefulSet",
            "CronJob",
            "Service",
            "Service",
            "ConfigMap",
            "ConfigMap",
            "Secret",
            "ServiceAccount",
            "RoleBinding",
            "Role",
            "Ingress",
            "Foo",
            "HorizontalPodAutoscaler",
            "ClusterRoleBinding",
            "NetworkPolicy",
        ];
        let kind = self.random.below(KINDS.len());
        let metadata = self.metadata(KINDS[kind]);
        let name = self.name();
        match kind {
            0..=3 => self.workload(kind, &metadata, name),
            4..=9 => self.core(kind, &metadata, name),
            _ => self.referring(kind, &metadata, name),
        }
    }

    /// Objects with pods.
    fn workload(&mut self, kind: usize, metadata: &str, name: &str) -> String {
        match kind {
            0 | 1 => format!(
                "apiVersion: apps/v1\nkind: Deployment\n{metadata}spec:\n  replicas: {}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n{}",
                self.random.below(4),
                self.pod(6)
            ),
            2 => format!(
                "apiVersion: apps/v1\nkind: StatefulSet\n{metadata}spec:\n  serviceName: {name}\n  template:\n    spec:\n{}  volumeClaimTemplates:\n  - metadata: {{name: data}}\n",
                self.pod(6)
            ),
            _ => format!(
                "apiVersion: batch/v1\nkind: CronJob\n{metadata}spec:\n  schedule: '* * * * *'\n  jobTemplate:\n    spec:\n      template:\n        spec:\n{}",
                self.pod(10)
            ),
        }
    }

    /// Objects of the core group.
    fn core(&mut self, kind: usize, metadata: &str, name: &str) -> String {
        match kind {
            4 | 5 => format!(
                "apiVersion: v1\nkind: Service\n{metadata}spec:\n  selector: {{app: {name}}}\n  ports:\n  - port: 80\n    targetPort: http\n"
            ),
            6 | 7 => format!(
                "apiVersion: v1\nkind: ConfigMap\n{metadata}data:\n  a: {}\n  'b': {}\n",
                self.scalar(),
                self.any()
            ),
            8 => format!(
                "apiVersion: v1\nkind: Secret\n{metadata}stringData: {{k: {}}}\n",
                self.scalar()
            ),
            _ => format!(
                "apiVersion: v1\nkind: ServiceAccount\n{metadata}imagePullSecrets: [{{name: {name}}}]\n"
            ),
        }
    }

    /// Objects that name others.
    fn referring(&mut self, kind: usize, metadata: &str, name: &str) -> String {
        match kind {
            10 => format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n{metadata}roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\nsubjects:\n- {{kind: ServiceAccount, name: {}, namespace: team}}\n- {{kind: ServiceAccount, name: default}}\n",
                self.name()
            ),
            11 => format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n{metadata}rules:\n- apiGroups: ['']\n  resources: [secrets]\n  resourceNames: [{name}, {}]\n  verbs: [get]\n",
                self.name()
            ),
            12 => format!(
                "apiVersion: networking.k8s.io/v1\nkind: Ingress\n{metadata}spec:\n  rules:\n  - host: a.example.com\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}]}}\n  tls: [{{secretName: {}}}]\n",
                self.name()
            ),
            13 => format!(
                "apiVersion: example.com/v1\nkind: Foo\n{metadata}spec:\n  list: [x, {}, {}]\n  gone:\n  configRef: {{name: {name}}}\n  prefixed: {name}\n  image: nginx:1\n  map: {{x: {}}}\n",
                self.any(),
                self.any(),
                self.any()
            ),
            14 => format!(
                "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\n{metadata}spec:\n  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}\n"
            ),
            15 => format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n{metadata}roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}\nsubjects: [{{kind: ServiceAccount, name: {}, namespace: default}}]\n",
                self.name()
            ),
            _ => format!(
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n{metadata}spec:\n  podSelector: {{matchLabels: {{app: {name}}}}}\n  ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {}}}}}}}]}}]\n",
                self.name()
            ),
        }
    }
}
