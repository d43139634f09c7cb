package rounds

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-delivery/sluice/api/v1beta1"
	"github.com/sluice-delivery/sluice/operator/release"
	"github.com/sluice-delivery/sluice/operator/rollout/text"
)

const (
	// maxHistory is how many rounds a status tells of.
	maxHistory = 20
	// MaxMessage is how many bytes it tells of each.
	MaxMessage = 256
)

// Record notes in the status the results of a round that has ended, and its verdict, once.
func Record(st *v1beta1.CanaryStatus, run *release.CheckRun, r *Round, verdict v1beta1.CheckVerdict, messages []string) {
	if Recorded(st, run) {
		return
	}
	st.Checks = r.Results
	st.History = append(st.History, v1beta1.RoundStatus{
		Step: st.Step.Index, Weight: st.CanaryWeight, Verdict: verdict,
		Message: text.Cut(strings.Join(messages, "; "), MaxMessage), Time: metav1.NewMicroTime(run.At),
	})
	if n := len(st.History); n > maxHistory {
		st.History = st.History[n-maxHistory:]
	}
}

// WasCut tells whether the history does not tell all of a round.
func WasCut(r v1beta1.RoundStatus) bool { return text.WasCut(r.Message, MaxMessage) }

// Recorded tells whether a round is the last that the status tells of. It still counts while hooks are asked whether the
// release may go on.
func Recorded(st *v1beta1.CanaryStatus, run *release.CheckRun) bool {
	n := len(st.History)
	return n > 0 && st.History[n-1].Time.UnixMicro() == run.At.UnixMicro()
}

// RecordHooks notes the answers of hooks outside of rounds. What is known of metrics stays.
func RecordHooks(st *v1beta1.CanaryStatus, results []v1beta1.CheckStatus) {
	known := append([]v1beta1.CheckStatus(nil), results...)
	for _, c := range st.Checks {
		if c.Window != "" {
			known = append(known, c)
		}
	}
	st.Checks = known
}

// ReasonOfSilence is why checks give no verdict.
func ReasonOfSilence(checks []v1beta1.CheckStatus) string {
	if len(Unmeasured(checks)) > 0 {
		return release.ReasonNotMeasured
	}
	return release.ReasonChecksUnavailable
}
