package tracing

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
)

// span is one that has ended.
type span struct {
	ids        ids
	parent     trace.SpanID // of the same trace; none for the release itself
	name       string
	kind       trace.SpanKind
	from, to   time.Time
	attributes []attribute.KeyValue
	failed     string // why, for people; empty where nothing has
}

// ids are those of a span.
type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

// attempt is a release of a Canary.
type attempt struct {
	uid   types.UID
	began int64 // in microseconds of Unix time
}

func attemptOf(c *v1beta1.Canary, st *v1beta1.CanaryStatus) attempt {
	return attempt{uid: c.UID, began: st.StartedAt.UnixMicro()}
}

// Kinds of spans, by which their ids differ.
const (
	kindRelease   = "release"
	kindStep      = "step"
	kindGate      = "gate"
	kindTurn      = "turn"
	kindPromotion = "promotion"
	kindAction    = "action"
	kindCheck     = "check"
	kindHook      = "hook"
)

// ids are those of a span of the release, which is told from others of its kind by what.
func (a attempt) ids(kind, what string) ids {
	hash := func(kind, what string) [sha256.Size]byte {
		var began [8]byte
		binary.BigEndian.PutUint64(began[:], uint64(a.began)) //nolint:gosec // the same bits
		return sha256.Sum256([]byte(string(a.uid) + "\x00" + string(began[:]) + "\x00" + kind + "\x00" + what))
	}
	var out ids
	ofTrace, ofSpan := hash("trace", ""), hash(kind, what)
	copy(out.trace[:], ofTrace[:])
	copy(out.span[:], ofSpan[:])
	return out
}

func (a attempt) release() ids         { return a.ids(kindRelease, "") }
func (a attempt) step(index int32) ids { return a.ids(kindStep, strconv.Itoa(int(index))) }

// under is a span below the release itself.
func (a attempt) under(kind, what, name string, from, to time.Time, attributes ...attribute.KeyValue) span {
	return span{ids: a.ids(kind, what), parent: a.release().span, name: name, from: from, to: to, attributes: attributes}
}

// begun is when the present parts of a release began, as far as this operator has seen it. The status has it less exactly, for one that
// takes over.
type begun struct {
	attempt         int64
	index           int32
	step, promotion time.Time
}

// note remembers what begins with a status.
func (b *begun) note(before, next *v1beta1.CanaryStatus, now time.Time) {
	if next.StartedAt == nil || !release.Running(next.Phase) {
		*b = begun{}
		return
	}
	if at := next.StartedAt.UnixMicro(); b.attempt != at {
		*b = begun{attempt: at}
	}
	same := before.StartedAt != nil && before.StartedAt.Equal(next.StartedAt)
	if next.Step != nil && (!same || before.Step == nil || before.Step.Index != next.Step.Index) {
		b.index, b.step = next.Step.Index, now
	}
	if promoting(next.Phase) && (!same || !promoting(before.Phase)) {
		b.promotion = now
	}
}

func promoting(phase v1beta1.CanaryPhase) bool {
	return phase == v1beta1.PhasePromoting || phase == v1beta1.PhaseFinalising
}

// ended are the spans that end with the status of c, in place of before.
func ended(c *v1beta1.Canary, before *v1beta1.CanaryStatus, known begun, now time.Time) []span {
	if before.StartedAt == nil || !release.Running(before.Phase) {
		return nil
	}
	e := ending{attempt: attemptOf(c, before), canary: c, before: before, next: &c.Status, known: known, now: now}
	if known.attempt != e.attempt.began {
		e.known = begun{}
	}
	e.over = !release.Running(e.next.Phase) || !before.StartedAt.Equal(e.next.StartedAt)
	e.turn()
	e.gate()
	e.step()
	e.promotion()
	e.action()
	if e.over {
		e.release()
	}
	return e.spans
}

// ending compares two statuses of a release.
type ending struct {
	attempt

	canary       *v1beta1.Canary
	before, next *v1beta1.CanaryStatus
	known        begun
	now          time.Time
	over         bool // the release has ended
	spans        []span
}

func (e *ending) add(s span) { e.spans = append(e.spans, s) }

// turn is the wait for what release policies allow.
func (e *ending) turn() {
	was, is := e.before.Admission, e.next.Admission
	if was == nil || was.Admitted != nil || !e.over && is != nil && is.Admitted == nil {
		return
	}
	by := ""
	if is != nil && !e.over {
		by = is.By
	}
	e.add(e.under(kindTurn, at(was.Since.Time), "release policies", was.Since.Time, e.now, texts("sluice.policy", was.Policy, "sluice.reason", was.Reason, "sluice.by", by)...))
}

// gate is the wait for hooks that answer with success.
func (e *ending) gate() {
	was, is := e.before.Gate, e.next.Gate
	if was == nil || !e.over && is != nil && is.Type == was.Type && sameStep(e.before, e.next) {
		return
	}
	s := e.under(kindGate, string(was.Type)+"/"+at(was.Since.Time), "gate "+string(was.Type), was.Since.Time, e.now, texts("sluice.hook", was.Hook, "sluice.message", was.Message)...)
	if e.before.Step != nil {
		s.parent = e.attempt.step(e.before.Step.Index).span
	}
	e.add(s)
}

// step is one of the analysis, gates included. Step 0 is that the canary becomes ready.
func (e *ending) step() {
	was := e.before.Step
	if was == nil || promoting(e.before.Phase) || !e.over && sameStep(e.before, e.next) {
		return
	}
	name := "step " + strconv.Itoa(int(was.Index))
	if was.Index == 0 {
		name = "canary becomes ready"
	}
	e.add(span{
		ids: e.attempt.step(was.Index), parent: e.attempt.release().span, name: name, from: e.stepBegan(), to: e.now,
		attributes: append(texts("sluice.share", string(was.Share)), attribute.Int("sluice.step", int(was.Index)), attribute.Int("sluice.weight", int(was.Weight)),
			attribute.Int("sluice.rounds", int(was.Checks))),
	})
}

// sameStep tells whether a release is at the same step of its analysis.
func sameStep(before, next *v1beta1.CanaryStatus) bool {
	return before.Step != nil && next.Step != nil && before.Step.Index == next.Step.Index && promoting(before.Phase) == promoting(next.Phase)
}

// stepBegan is when the step began that ends now. Where that was not seen it is told by the rounds before it.
func (e *ending) stepBegan() time.Time {
	st := e.before
	switch {
	case !e.known.step.IsZero() && e.known.index == st.Step.Index:
		return e.known.step
	case st.Step.Index == 0:
		return st.StartedAt.Time
	case st.Step.Checks == 0:
		return st.Step.Since.Time
	}
	for i := len(st.History) - 1; i >= 0; i-- {
		if round := st.History[i]; round.Step < st.Step.Index {
			return round.Time.Time
		}
	}
	if st.Step.Began != nil {
		return st.Step.Began.Time
	}
	return st.StartedAt.Time
}

// promotion lasts until the primary has all requests again.
func (e *ending) promotion() {
	if !promoting(e.before.Phase) || !e.over && promoting(e.next.Phase) {
		return
	}
	from := e.known.promotion
	if from.IsZero() && e.before.Step != nil {
		from = e.before.Step.Since.Time
	}
	if from.IsZero() {
		from = e.before.StartedAt.Time
	}
	s := e.under(kindPromotion, "", "promotion", from, e.now)
	if e.next.Phase != v1beta1.PhaseSucceeded {
		s.failed = e.outcome()
	}
	e.add(s)
}

// action is what a person has asked for meanwhile.
func (e *ending) action() {
	was, is := e.before.LastAction, e.next.LastAction
	if is == nil || was != nil && was.Name == is.Name && was.Time.Equal(&is.Time) {
		return
	}
	s := e.under(kindAction, is.Name+"/"+at(is.Time.Time), "action "+string(is.Action), is.Time.Time, is.Time.Time,
		append(texts("sluice.by", is.By, "sluice.message", is.Message), attribute.Bool("sluice.done", is.Done))...)
	e.add(s)
}

// Outcomes of releases.
const (
	outcomePromoted   = "promoted"
	outcomeRolledBack = "rolled back"
	outcomeReplaced   = "replaced by another release"
	outcomeDeleted    = "the Canary is deleted"
	outcomeOther      = "ended"
)

// outcome is how the release has ended.
func (e *ending) outcome() string {
	switch {
	case release.Running(e.next.Phase):
		return outcomeReplaced
	case e.next.Phase == v1beta1.PhaseSucceeded:
		return outcomePromoted
	case e.next.Phase == v1beta1.PhaseFailed:
		return outcomeRolledBack
	case e.next.Phase == v1beta1.PhaseTerminating:
		return outcomeDeleted
	default:
		return outcomeOther
	}
}

// release is the root of the trace.
func (e *ending) release() {
	c := e.canary
	how := e.outcome()
	s := span{
		ids: e.attempt.release(), name: "release " + c.Namespace + "/" + c.Name, from: e.before.StartedAt.Time, to: e.now,
		attributes: append(about(c),
			attribute.String("sluice.revision", e.before.LastAppliedSpec), attribute.String("sluice.strategy", string(c.GetAnalysis().Strategy())),
			attribute.String("sluice.outcome", how), attribute.Int("sluice.failed_rounds", int(max(e.before.FailedChecks, e.next.FailedChecks)))),
	}
	if how == outcomeRolledBack {
		s.failed = how
		if is := e.next.GetCondition(v1beta1.ConditionPromoted); is != nil && is.Message != "" {
			s.failed = is.Message
			s.attributes = append(s.attributes, texts("sluice.reason", is.Reason)...)
		}
	}
	e.add(s)
}

// about says which Canary a trace is about, in OpenTelemetry's words where it has some.
func about(c *v1beta1.Canary) []attribute.KeyValue {
	return texts("k8s.namespace.name", c.Namespace, "sluice.canary", c.Name, "sluice.target", c.Spec.TargetRef.Kind+"/"+c.Spec.TargetRef.Name)
}

// checkSpan is a query of a metric.
func checkSpan(c *v1beta1.Canary, id release.CheckID, began time.Time, result v1beta1.CheckStatus) span {
	s := answered(c, id, kindCheck, result.Name, began, result)
	s.attributes = append(s.attributes, texts("sluice.query", result.Query, "sluice.range", result.Range, "sluice.window", result.Window)...)
	return s
}

// hookSpan is the call of a hook.
func hookSpan(c *v1beta1.Canary, id release.CheckID, hook *v1beta1.CanaryWebhook, began time.Time, result v1beta1.CheckStatus) span {
	s := answered(c, id, kindHook, hook.Name, began, result)
	s.attributes = append(s.attributes, texts("sluice.hook_type", string(hook.GetType()))...)
	return s
}

// answered is a span of what was asked outside, below the step that it is about. Each try has an id of its own: one that is asked
// again, by another operator too, is another span.
func answered(c *v1beta1.Canary, id release.CheckID, kind, name string, began time.Time, result v1beta1.CheckStatus) span {
	of := attempt{uid: c.UID, began: id.Attempt}
	s := span{
		ids: of.ids(kind, name+"/"+at(began)), parent: of.step(id.Step).span, name: kind + " " + name, kind: trace.SpanKindClient,
		from: began, to: result.Time.Time,
		attributes: append(texts("sluice.value", result.Value, "sluice.verdict", string(result.Verdict)), attribute.Int("sluice.step", int(id.Step))),
	}
	if id.Hooks == v1beta1.PostRolloutHook || id.Hooks == v1beta1.RollbackHook {
		s.parent = of.release().span // they are about no step
	}
	if result.Verdict != v1beta1.CheckPassed && result.Verdict != v1beta1.CheckSkipped {
		s.failed = result.Message
		if s.failed == "" {
			s.failed = string(result.Verdict)
		}
	}
	return s
}

// gate tells whether hooks of a type are called until they answer with success.
func gate(kind v1beta1.HookType) bool {
	switch kind {
	case v1beta1.ConfirmRolloutHook, v1beta1.ConfirmTrafficIncreaseHook, v1beta1.ConfirmPromotionHook, v1beta1.RollbackHook:
		return true
	case v1beta1.RolloutHook, v1beta1.PreRolloutHook, v1beta1.PostRolloutHook, v1beta1.EventHook:
		return false
	default:
		return false
	}
}

// maxText is how long a text in a span may be, in bytes: what servers answer is theirs.
const maxText = 1024

// texts are the attributes of pairs of names and values, but for those without a value.
func texts(pairs ...string) []attribute.KeyValue {
	var out []attribute.KeyValue
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			out = append(out, attribute.String(pairs[i], v1beta1.OneLine(pairs[i+1], maxText)))
		}
	}
	return out
}

// at is a time as a part of what an id is computed from.
func at(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }
