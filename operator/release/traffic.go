package release

// Traffic is what the mesh does with the requests of a Canary.
type Traffic struct {
	// Canary is the canary's share in percent; the primary has the rest.
	Canary int32
	// Matched says that the share is of the requests that spec.analysis.match
	// names; all others go to the primary.
	Matched bool
	// Mirror is the percentage of the primary's requests of which the canary gets
	// a copy.
	Mirror int32
	// Sessions keeps users on the version that they were sent to.
	Sessions Sessions
}

// Sessions are the values of the cookies by which users stay on a version.
// All are empty without session affinity.
type Sessions struct {
	// Canary marks the users of the canary in this release.
	Canary string
	// Primary marks the users of the primary at this step.
	Primary string
	// Raised is by how many percent of all users this step raised the share.
	Raised int32
	// Ended marked the users of an earlier release; their cookies are dropped.
	Ended string
}
