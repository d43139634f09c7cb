package release

import (
	"fmt"
	"time"
)

// PlaceStep is by how much smaller the place of a release has to be among those that wait to be written anew: as the queue moves
// on, each of a thousand is written five times and not a thousand times.
const PlaceStep = 4

// InQueue says which of those that wait a release is, as a part of why it waits.
func InQueue(place, waiting int32) string {
	return fmt.Sprintf("; number %d of %d that wait", place, waiting)
}

// Turn is how a release stands with the ReleasePolicies that select its Canary.
type Turn struct {
	// May is true where it may begin now. A place is kept for it until the status says whether it did.
	May bool
	// Yield is true where more have begun than may, and this one is to wait again as long as it had no traffic.
	Yield bool
	// Reason says in one word why it may not; empty where it has not asked yet.
	Reason string
	// Policy names the policy that holds it.
	Policy string
	// Message says why, for a person. It is the same as long as the reason is.
	Message string
	// Detail says what of it changes all the time: who is in a release, and how many wait before it.
	Detail string
	// Place is which of Waiting releases that wait for a place it is, from 1; zero where it waits for none.
	Place, Waiting int
	// Until is when it may begin at the earliest; zero where that depends on other releases or on people.
	Until time.Time
}
