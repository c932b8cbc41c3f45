// Package kubernetes checks the manifests beside it against the types of Kubernetes and its operators, the command line and the protocol.
package kubernetes

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"

	"github.com/athoune/worker-machine/internal/wire"
)

// kinds makes an empty object of each kind that may stand in the manifests.
var kinds = map[string]func() any{
	"apps/v1 Deployment":                      func() any { return new(apps.Deployment) },
	"v1 Service":                              func() any { return new(core.Service) },
	"v1 Secret":                               func() any { return new(core.Secret) },
	"policy/v1 PodDisruptionBudget":           func() any { return new(policy.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":      func() any { return new(networking.NetworkPolicy) },
	"keda.sh/v1alpha1 ScaledObject":           func() any { return new(scaledObject) },
	"keda.sh/v1alpha1 TriggerAuthentication":  func() any { return new(triggerAuthentication) },
	"monitoring.coreos.com/v1 ServiceMonitor": func() any { return new(serviceMonitor) },
	"monitoring.coreos.com/v1 PodMonitor":     func() any { return new(podMonitor) },
}

// load reads all manifests, and refuses fields that their kinds do not have.
func load(t *testing.T) (objects []any) {
	t.Helper()
	paths, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if path == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var head struct{ APIVersion, Kind string }
			if err := yaml.Unmarshal(document, &head); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			fresh, known := kinds[head.APIVersion+" "+head.Kind]
			if !known {
				t.Fatalf("%s: %s %s is not a kind this test knows", path, head.APIVersion, head.Kind)
			}
			object := fresh()
			if err := yaml.UnmarshalStrict(document, object); err != nil {
				t.Errorf("%s: %s: %v", path, head.Kind, err)
			}
			objects = append(objects, object)
		}
	}
	return objects
}

// all picks the objects of a kind.
func all[T any](objects []any) (of []T) {
	for _, object := range objects {
		if one, ok := object.(T); ok {
			of = append(of, one)
		}
	}
	return of
}

func TestManifestsHaveOnlyFieldsOfTheirKinds(t *testing.T) {
	t.Parallel()
	objects := load(t)
	if len(objects) < 10 {
		t.Errorf("got %d objects, want all", len(objects))
	}
}

// TestArgumentsAreThoseOfTheProgram has the real program read each command line.
func TestArgumentsAreThoseOfTheProgram(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "worker-machine")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/worker-machine")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, d := range all[*apps.Deployment](load(t)) {
		args := append(append([]string{}, d.Spec.Template.Spec.Containers[0].Args...), "--help") // flags are read before help is shown
		if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %q: %v\n%s", d.Name, args, err, out)
		}
	}
}

// TestPodsHaveTimeToDrain holds that a worker which drains for its whole time is not killed: kubelet counts preStop too.
func TestPodsHaveTimeToDrain(t *testing.T) {
	t.Parallel()
	for _, d := range all[*apps.Deployment](load(t)) {
		pod := d.Spec.Template.Spec
		container := pod.Containers[0]
		if container.Lifecycle == nil || container.Lifecycle.PreStop == nil || container.Lifecycle.PreStop.Sleep == nil {
			t.Errorf("%s: no preStop", d.Name)
			continue
		}
		drain := 25 * time.Second
		for i, arg := range container.Args {
			if arg == "--drain" {
				var err error
				if drain, err = time.ParseDuration(container.Args[i+1]); err != nil {
					t.Fatal(err)
				}
			}
		}
		need := drain + time.Duration(container.Lifecycle.PreStop.Sleep.Seconds)*time.Second + 10*time.Second
		if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace < need {
			t.Errorf("%s: the grace period is %v, want at least %v: drain, preStop and 10s to hand over", d.Name, grace, need)
		}
	}
}

// TestPodsAreRestricted holds the rules of the strictest pod security standard.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	for _, d := range all[*apps.Deployment](load(t)) {
		pod := d.Spec.Template.Spec
		if pod.SecurityContext == nil || !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile == nil || *pod.AutomountServiceAccountToken {
			t.Errorf("%s: the pod may be root, has no seccomp profile, or a token", d.Name)
		}
		for _, c := range pod.Containers {
			s := c.SecurityContext
			if s == nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
				t.Errorf("%s: container %s may more than it needs", d.Name, c.Name)
			}
			if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: container %s lacks probes or a limit", d.Name, c.Name)
			}
		}
	}
}

// TestEachDeploymentHasABudget looks for the PodDisruptionBudget with its labels.
func TestEachDeploymentHasABudget(t *testing.T) {
	t.Parallel()
	objects := load(t)
	budgets := all[*policy.PodDisruptionBudget](objects)
	for _, d := range all[*apps.Deployment](objects) {
		found := false
		for _, b := range budgets {
			found = found || b.Name == d.Name && b.Spec.Selector.String() == d.Spec.Selector.String()
		}
		if !found {
			t.Errorf("%s has no PodDisruptionBudget", d.Name)
		}
	}
}

// TestScalingCountsTheQueueOfTheWorkers holds the name of the stream against the protocol, and the queue against the worker's.
func TestScalingCountsTheQueueOfTheWorkers(t *testing.T) {
	t.Parallel()
	objects := load(t)
	queue := ""
	for _, d := range all[*apps.Deployment](objects) {
		args := d.Spec.Template.Spec.Containers[0].Args
		for i, arg := range args {
			if arg == "--queue" {
				queue = args[i+1]
			}
		}
	}
	for _, scaled := range all[*scaledObject](objects) {
		trigger := scaled.Spec.Triggers[0]
		if want := wire.NewKeys("wm", queue).Tasks(); trigger.Metadata["stream"] != want {
			t.Errorf("the stream is %q, want %q", trigger.Metadata["stream"], want)
		}
		if n, err := strconv.Atoi(trigger.Metadata["streamLength"]); err != nil || n < 1 {
			t.Errorf("streamLength is %q, want a number", trigger.Metadata["streamLength"])
		}
		if scaled.Spec.MinReplicaCount == nil || *scaled.Spec.MinReplicaCount < 1 {
			t.Error("minReplicaCount has to be 1: somebody must promote delayed tasks")
		}
	}
}

// TestSecretsAreAllThere looks for each key of a secret that is named anywhere.
func TestSecretsAreAllThere(t *testing.T) {
	t.Parallel()
	objects := load(t)
	secret := all[*core.Secret](objects)[0]
	check := func(where, name, key string) {
		if _, ok := secret.StringData[key]; !ok || name != secret.Name {
			t.Errorf("%s names the key %s of the secret %s, which secret.yaml does not have", where, key, name)
		}
	}
	for _, d := range all[*apps.Deployment](objects) {
		for _, env := range d.Spec.Template.Spec.Containers[0].Env {
			if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil {
				check(d.Name, env.ValueFrom.SecretKeyRef.Name, env.ValueFrom.SecretKeyRef.Key)
			}
		}
		for _, volume := range d.Spec.Template.Spec.Volumes {
			if volume.Secret != nil {
				for _, item := range volume.Secret.Items {
					check(d.Name, volume.Secret.SecretName, item.Key)
				}
			}
		}
	}
	for _, a := range all[*triggerAuthentication](objects) {
		for _, ref := range a.Spec.SecretTargetRef {
			check(a.Name, ref.Name, ref.Key)
		}
	}
	for _, m := range all[*serviceMonitor](objects) {
		check(m.Name, m.Spec.Endpoints[0].Authorization.Credentials.Name, m.Spec.Endpoints[0].Authorization.Credentials.Key)
	}
}
