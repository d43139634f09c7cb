package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/sluice-delivery/sluice/api/v1alpha1"
	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// Index knows of each policy who is in a release and who waits, and answers whose turn it is. It is kept up by the events
// of Canaries and policies, each of which costs what it changes and not what there is. It is safe for concurrent use.
//
// A place is held by what the status of a Canary says, so that it outlasts this process. From the answer that a release
// may begin until the status says so, or does not, the place is reserved here.
//
// Methods that change who may begin return those who are to look again.
type Index struct {
	mu         sync.Mutex
	policies   map[Key]*state
	cluster    []*state
	ofSpace    map[string][]*state
	members    map[types.NamespacedName]*member
	inSpace    map[string]map[types.NamespacedName]*member
	namespaces map[string]map[string]string

	mostPerConfig int
	byConfig      map[Key]*state
}

// NewIndex gives an Index that knows nothing. mostPerConfig is how many releases that one ConfigMap or Secret begins are under
// way at once, in a namespace as those are; 0 for any number.
func NewIndex(mostPerConfig int) *Index {
	return &Index{
		mostPerConfig: mostPerConfig, byConfig: map[Key]*state{},
		policies: map[Key]*state{}, ofSpace: map[string][]*state{},
		members: map[types.NamespacedName]*member{}, inSpace: map[string]map[types.NamespacedName]*member{},
		namespaces: map[string]map[string]string{},
	}
}

// stage is how a Canary stands.
type stage int

const (
	idle stage = iota
	waiting
	releasing
)

// member is a Canary.
type member struct {
	key      types.NamespacedName
	uid      types.UID
	version  string
	labels   map[string]string
	policies []*state // that select it, those of the cluster first, then those by configs
	is       standing
	reserved bool // it was told that it may begin
	declined bool // it was, and did not
}

// standing is what of a Canary decides whose turn it is.
type standing struct {
	stage    stage
	since    time.Time
	priority int64
	admitted time.Time
	yields   bool // it can be sent back: it was let begin, and had no traffic yet
	held     bool // it stands where it is until a person does something
	place    int  // which of those that wait it was told to be
	configs  string
}

// configsSeparator is between the configs of a standing, in the names of which it can't be.
const configsSeparator = ","

// state is a policy and those whom it concerns.
type state struct {
	rules   Rules
	holders map[*member]struct{}
	queue   []*member // in the order of their turns
	members int       // that it selects, of a limit by a config, which goes with the last

	judged bool
	hold   *Hold
	until  time.Time
	when   time.Time
}

// at is why the policy lets no release begin now. That is computed anew when it can have changed.
func (s *state) at(now time.Time) *Hold {
	if !s.judged || now.Before(s.when) || !s.until.IsZero() && !now.Before(s.until) {
		s.hold, s.until = s.rules.at(now)
		s.judged, s.when = true, now
	}
	return s.hold
}

// free is how many places there are, less than none where more are in a release than may.
func (s *state) free() int {
	if s.rules.max == 0 {
		return len(s.queue) + 1
	}
	return s.rules.max - len(s.holders)
}

// earlier orders those who wait.
func earlier(a, b *member) int {
	return cmp.Or(-cmp.Compare(a.is.priority, b.is.priority), a.is.since.Compare(b.is.since), compareKeys(a.key, b.key))
}

func compareKeys(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// SetPolicy adds a policy, or changes it.
func (x *Index) SetPolicy(r Rules, now time.Time) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, known := x.policies[r.key]
	if !known {
		s = &state{rules: r, holders: map[*member]struct{}{}}
		x.policies[r.key] = s
		if r.key.Namespace == "" {
			x.cluster = append(x.cluster, s)
			slices.SortFunc(x.cluster, byName)
		} else {
			all := append(x.ofSpace[r.key.Namespace], s)
			slices.SortFunc(all, byName)
			x.ofSpace[r.key.Namespace] = all
		}
	}
	s.rules, s.judged = r, false
	return x.reselect(r.key.Namespace, s, now)
}

func byName(a, b *state) int {
	return strings.Compare(a.rules.key.Name, b.rules.key.Name)
}

// RemovePolicy forgets a policy: those who waited for it look again.
func (x *Index) RemovePolicy(key Key, now time.Time) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	s, known := x.policies[key]
	if !known {
		return nil
	}
	delete(x.policies, key)
	is := func(other *state) bool { return other == s }
	if x.cluster = slices.DeleteFunc(x.cluster, is); key.Namespace != "" {
		if x.ofSpace[key.Namespace] = slices.DeleteFunc(x.ofSpace[key.Namespace], is); len(x.ofSpace[key.Namespace]) == 0 {
			delete(x.ofSpace, key.Namespace)
		}
	}
	return x.reselect(key.Namespace, s, now)
}

// reselect has all members of a namespace, empty for all, find the policies that select them. It returns those that wait
// for one of them that has changed.
func (x *Index) reselect(namespace string, changed *state, now time.Time) []types.NamespacedName {
	members := x.members
	if namespace != "" {
		members = x.inSpace[namespace]
	}
	concerned := map[types.NamespacedName]struct{}{}
	for key, m := range members {
		was := slices.Contains(m.policies, changed)
		x.leave(m)
		x.selectFor(m)
		x.enter(m)
		if is := slices.Contains(m.policies, changed); (was || is) && m.is.stage == waiting {
			concerned[key] = struct{}{}
		}
	}
	x.next(changed, now, concerned)
	return sorted(concerned)
}

func sorted(keys map[types.NamespacedName]struct{}) []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(keys), compareKeys)
}

// selectFor notes which policies select a member.
func (x *Index) selectFor(m *member) {
	before := m.policies
	m.policies = append(x.selecting(m), x.limits(m.key.Namespace, m.is.configs)...)
	for _, s := range m.policies {
		s.members++
	}
	x.drop(before)
}

// drop has policies select a member no more.
func (x *Index) drop(policies []*state) {
	for _, s := range policies {
		if s.members--; s.members == 0 && s.rules.byConfig() {
			delete(x.byConfig, s.rules.key)
		}
	}
}

// limits are those of the releases that each of these configs begins.
func (x *Index) limits(namespace, configs string) (out []*state) {
	if x.mostPerConfig == 0 || configs == "" {
		return nil
	}
	for config := range strings.SplitSeq(configs, configsSeparator) {
		key := Key{Namespace: namespace, Config: config}
		s := x.byConfig[key]
		if s == nil {
			s = &state{rules: ofConfig(namespace, config, x.mostPerConfig), holders: map[*member]struct{}{}}
			x.byConfig[key] = s
		}
		out = append(out, s)
	}
	return out
}

// selecting are the policies of people that select a member.
func (x *Index) selecting(m *member) []*state {
	out := []*state{}
	for _, list := range [][]*state{x.cluster, x.ofSpace[m.key.Namespace]} {
		for _, s := range list {
			if s.rules.selects(m.key.Namespace, x.namespaces[m.key.Namespace], m.labels) {
				out = append(out, s)
			}
		}
	}
	return out
}

// leave takes a member out of the lists of its policies, and enter puts it into them.
func (x *Index) leave(m *member) {
	for _, s := range m.policies {
		delete(s.holders, m)
		if i := s.find(m); i >= 0 {
			s.queue = slices.Delete(s.queue, i, i+1)
		}
	}
}

// find is where a member stands in the queue, -1 where it does not. What it is sorted by is as it was when it entered.
func (s *state) find(m *member) int {
	if i, found := slices.BinarySearchFunc(s.queue, m, earlier); found && s.queue[i] == m {
		return i
	}
	return -1
}

func (x *Index) enter(m *member) {
	for _, s := range m.policies {
		switch {
		case m.is.held && s.rules.byConfig(): // nobody knows for how long, and the others are not to wait for people
		case m.is.stage == releasing || m.reserved:
			s.holders[m] = struct{}{}
		case m.is.stage == waiting:
			i, _ := slices.BinarySearchFunc(s.queue, m, earlier)
			s.queue = slices.Insert(s.queue, i, m)
		}
	}
}

// SetNamespace says which labels a namespace has, nil for one that is gone.
func (x *Index) SetNamespace(name string, labels map[string]string, now time.Time) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	if was, known := x.namespaces[name]; known && maps.Equal(was, labels) {
		return nil
	}
	if x.namespaces[name] = labels; labels == nil {
		delete(x.namespaces, name)
	}
	wake := map[types.NamespacedName]struct{}{}
	for key, m := range x.inSpace[name] {
		before := m.policies
		x.leave(m)
		x.selectFor(m)
		x.enter(m)
		if !slices.Equal(before, m.policies) && m.is.stage == waiting {
			wake[key] = struct{}{}
		}
		for _, s := range before {
			x.next(s, now, wake)
		}
	}
	return sorted(wake)
}

// SetCanary says how a Canary is. What is older than what is known already is passed over.
func (x *Index) SetCanary(c *v1beta1.Canary, now time.Time) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	wake := map[types.NamespacedName]struct{}{}
	x.set(c, now, wake)
	return sorted(wake)
}

// set returns the Canary's member.
func (x *Index) set(c *v1beta1.Canary, now time.Time, wake map[types.NamespacedName]struct{}) *member {
	key := types.NamespacedName{Namespace: c.Namespace, Name: c.Name}
	m := x.members[key]
	if m != nil && m.uid == c.UID && older(c.ResourceVersion, m.version) {
		return m
	}
	if m == nil {
		m = &member{key: key}
		x.members[key] = m
		if x.inSpace[key.Namespace] == nil {
			x.inSpace[key.Namespace] = map[types.NamespacedName]*member{}
		}
		x.inSpace[key.Namespace][key] = m
	}
	is := standingOf(c)
	same := m.uid == c.UID && m.is == is && m.policies != nil
	m.version = c.ResourceVersion
	if same && maps.Equal(m.labels, c.Labels) {
		return m
	}
	before := m.policies
	x.leave(m)
	others := m.policies == nil || m.is.configs != is.configs || !maps.Equal(m.labels, c.Labels)
	m.uid, m.is, m.declined = c.UID, is, false
	if others {
		m.labels = c.Labels
		x.selectFor(m)
	}
	x.enter(m)
	for _, s := range before {
		x.next(s, now, wake)
	}
	for _, s := range m.policies {
		x.next(s, now, wake)
	}
	delete(wake, key) // it is looked at anyway
	return m
}

// older tells whether one version of an object is before another.
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// RemoveCanary forgets a Canary that is gone.
func (x *Index) RemoveCanary(key types.NamespacedName, now time.Time) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.members[key]
	if m == nil {
		return nil
	}
	x.leave(m)
	x.drop(m.policies)
	delete(x.members, key)
	if delete(x.inSpace[key.Namespace], key); len(x.inSpace[key.Namespace]) == 0 {
		delete(x.inSpace, key.Namespace)
	}
	wake := map[types.NamespacedName]struct{}{}
	for _, s := range m.policies {
		x.next(s, now, wake)
	}
	return sorted(wake)
}

// next adds those of a policy who are to look again: as many as there are places, or those that are one too many; and of those
// that wait for one whoever stands much further in front than it was told.
func (x *Index) next(s *state, now time.Time, wake map[types.NamespacedName]struct{}) {
	if s == nil || s.rules.max == 0 || s.at(now) != nil && s.free() >= 0 {
		return
	}
	for place := 1; place <= len(s.queue); place *= release.PlaceStep {
		if m := s.queue[place-1]; m.is.place >= place*release.PlaceStep {
			wake[m.key] = struct{}{}
		}
	}
	free := s.free()
	if free < 0 {
		for _, m := range s.beyond() {
			wake[m.key] = struct{}{}
		}
		return
	}
	for _, m := range s.queue {
		if free == 0 {
			return
		}
		if !m.blocked(now) {
			wake[m.key] = struct{}{}
			free--
		}
	}
}

// blocked tells whether a member could not take a place if it had one.
func (m *member) blocked(now time.Time) bool {
	return m.declined || slices.ContainsFunc(m.policies, func(s *state) bool { return s.at(now) != nil })
}

// beyond are those in a release that are more than the policy allows and can be sent back: the last that were let begin.
func (s *state) beyond() []*member {
	var out []*member
	if s.rules.byConfig() { // what is under way goes on
		return nil
	}
	for m := range s.holders {
		if m.is.yields {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *member) int {
		return cmp.Or(-a.is.admitted.Compare(b.is.admitted), -compareKeys(a.key, b.key))
	})
	return out[:min(len(out), max(-s.free(), 0))]
}

// TurnOf tells how a Canary stands with the policies that select it, nil where none does. Whoever asks and is told that it
// may begin has to Settle, whether it did or not.
//
// The configs are those whose change begins a release, if one begins. Where these alone are limited, and not used up, nil is the
// answer, and a place is kept until the Canary is Settled: a release that need not wait does not begin by waiting.
func (x *Index) TurnOf(c *v1beta1.Canary, configs []string, now time.Time) (*release.Turn, []types.NamespacedName) {
	x.mu.Lock()
	defer x.mu.Unlock()
	wake := map[types.NamespacedName]struct{}{}
	m := x.set(c, now, wake)
	if m.reserved {
		x.move(m, func() { m.reserved = false })
	}
	m.declined = false
	if m.is.stage == idle && len(configs) > 0 && !slices.ContainsFunc(m.policies, func(s *state) bool { return !s.rules.byConfig() }) {
		return x.begins(m, configs, now), sorted(wake)
	}
	if !slices.ContainsFunc(m.policies, func(s *state) bool { return m.is.stage == waiting || !s.rules.byConfig() }) {
		return nil, sorted(wake)
	}
	t := &release.Turn{}
	switch m.is.stage {
	case releasing:
		t.Yield = slices.ContainsFunc(m.policies, func(s *state) bool { return slices.Contains(s.beyond(), m) })
	case waiting:
		x.decide(m, now, t)
	case idle:
	}
	return t, sorted(wake)
}

// begins is the turn of a release that configs would begin: nil where there are places for it, which are reserved.
func (x *Index) begins(m *member, configs []string, now time.Time) *release.Turn {
	limits := x.limits(m.key.Namespace, strings.Join(configs, configsSeparator))
	for _, s := range limits {
		if s.free() <= s.ahead(m, now) {
			for _, s := range limits {
				s.members++
			}
			x.drop(limits) // a limit that nobody stands at is not kept
			return &release.Turn{}
		}
	}
	x.move(m, func() {
		m.is.configs, m.reserved = strings.Join(configs, configsSeparator), true
		x.selectFor(m)
	})
	return nil
}

// move changes what a member is listed by.
func (x *Index) move(m *member, change func()) {
	x.leave(m)
	change()
	x.enter(m)
}

// urgency orders what holds a release: what people have to end comes first.
var urgency = []string{release.ReasonPolicyInvalid, release.ReasonFrozen, release.ReasonWindowClosed}

func (x *Index) decide(m *member, now time.Time, t *release.Turn) {
	rank := len(urgency)
	for _, s := range m.policies {
		if h := s.at(now); h != nil {
			if is := slices.Index(urgency, h.Reason); is < rank {
				rank = is
				t.Reason, t.Message, t.Until, t.Policy = h.Reason, h.Message, h.Until, s.rules.key.String()
			}
		}
	}
	if t.Reason != "" {
		return
	}
	for _, s := range m.policies {
		if ahead := s.ahead(m, now); s.free() <= ahead {
			t.Reason, t.Policy = release.ReasonMaximumReached, s.rules.key.String()
			t.Message, t.Detail = s.rules.full(), s.detail(m)
			t.Place, t.Waiting = s.find(m)+1, len(s.queue)
			return
		}
	}
	t.May = true
	x.move(m, func() { m.reserved = true })
}

func releases(n int) string {
	if n == 1 {
		return "1 release"
	}
	return strconv.Itoa(n) + " releases"
}

// ahead is how many come before a member and could begin, as many as there are places at most.
func (s *state) ahead(m *member, now time.Time) int {
	n := 0
	for _, other := range s.queue {
		if other == m || n >= s.free() {
			break
		}
		if !other.blocked(now) {
			n++
		}
	}
	return n
}

// named is how many of those in a release are named.
const named = 3

// detail says who is in a release and how many wait before a member. Of other namespaces it gives no names.
func (s *state) detail(m *member) string {
	var names []string
	if s.rules.key.Namespace != "" {
		for holder := range s.holders {
			names = append(names, holder.key.Name)
		}
		slices.Sort(names)
	}
	out := fmt.Sprintf("%d under way", len(s.holders))
	if len(names) > named {
		names = append(names[:named], "...")
	}
	if len(names) > 0 {
		out += " (" + strings.Join(names, ", ") + ")"
	}
	if before := s.find(m); before > 0 {
		out += fmt.Sprintf(", %d wait before it", before)
	}
	return out
}

// Settle says how a Canary is after the turn that has asked. A place that it was given and did not take is free again.
func (x *Index) Settle(c *v1beta1.Canary, now time.Time) []types.NamespacedName {
	x.mu.Lock()
	defer x.mu.Unlock()
	m := x.members[types.NamespacedName{Namespace: c.Namespace, Name: c.Name}]
	wake := map[types.NamespacedName]struct{}{}
	if m == nil {
		return nil
	}
	reserved := m.reserved
	m.reserved = false // the lists are put right below
	x.set(c, now, wake)
	if reserved {
		x.leave(m)
		m.declined = m.is.stage == waiting
		x.enter(m)
		for _, s := range m.policies {
			x.next(s, now, wake)
		}
	}
	return sorted(wake)
}

// standingOf reads how a Canary stands from its status.
func standingOf(c *v1beta1.Canary) standing {
	a, phase := c.Status.Admission, c.Status.Phase
	switch {
	case !c.DeletionTimestamp.IsZero() || !release.Running(phase) || phase == v1beta1.PhaseWaiting && a == nil:
		return standing{}
	case phase == v1beta1.PhaseWaiting && a.Admitted == nil:
		return waitingOf(c)
	}
	is := standing{stage: releasing, held: held(c), configs: configsOf(&c.Status)}
	early := phase == v1beta1.PhaseProgressing && c.Status.Step != nil && c.Status.Step.Index == 0
	if early && a != nil && a.Admitted != nil && a.Reason != release.ReasonApproved {
		is.yields, is.admitted = true, a.Admitted.Time
	}
	return is
}

// waitingOf is how a Canary stands whose release waits. One that could not begin, whatever the policies say, does not.
func waitingOf(c *v1beta1.Canary) standing {
	if c.Status.Paused || c.Spec.Suspend || mistaken(&c.Status) {
		return standing{}
	}
	is := standing{stage: waiting, since: c.Status.Admission.Since.Time, place: int(c.Status.Admission.Place), configs: configsOf(&c.Status)}
	if priority, err := strconv.ParseInt(c.Annotations[v1alpha1.PriorityAnnotation], 10, 32); err == nil {
		is.priority = priority
	}
	return is
}

// configsOf are the configs that have begun a release.
func configsOf(st *v1beta1.CanaryStatus) string {
	return strings.Join(st.ChangedConfigs, configsSeparator)
}

// held tells whether a release that is under way stands where it is until a person does something, or a gate opens.
func held(c *v1beta1.Canary) bool {
	return c.Status.Paused || c.Spec.Suspend || c.Status.Gate != nil || mistaken(&c.Status)
}

// mistaken tells whether a mistake holds a Canary. What could not be applied holds nothing.
func mistaken(st *v1beta1.CanaryStatus) bool {
	is := st.GetCondition(v1beta1.ConditionStalled)
	return is != nil && is.Status == corev1.ConditionTrue && is.Reason != release.ReasonApplyFailed
}
