package workload

// Carried picks the annotations of an object that its copy has too: all but
// those by which other tools find what is theirs. The map is never nil.
func Carried(from map[string]string) map[string]string {
	return included(from, []string{"*"})
}

// CarriedLabels does the same with labels and says that Sluice made the copy.
func CarriedLabels(from map[string]string) map[string]string {
	out := Carried(from)
	out[managedByLabel] = managedBy
	return out
}
