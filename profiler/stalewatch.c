#include "profiler/stalewatch.h"

#include "symsrc/base/clock.h"

void stalewatch_add(struct stalewatch *w, uint64_t ip)
{
	if (w->count < STALEWATCH_SAMPLES)
		w->ips[w->count++] = ip;
}

void stalewatch_drop(struct stalewatch *w)
{
	w->count = 0;
}

bool stalewatch_is_full(struct stalewatch *w, uint32_t epoch)
{
	if (w->epoch != epoch)
		w->count = 0;
	w->epoch = epoch;
	return w->count == STALEWATCH_SAMPLES;
}

static void pause_longer(struct stalewatch *w, uint64_t now_ns)
{
	w->pause_sec = w->pause_sec ? 2 * w->pause_sec : STALEWATCH_PAUSE_SEC;
	if (w->pause_sec > STALEWATCH_PAUSE_MAX)
		w->pause_sec = STALEWATCH_PAUSE_MAX;
	w->quiet_until_ns = now_ns + w->pause_sec * NSEC_PER_SEC;
}

bool stalewatch_has_lost(unsigned known)
{
	return known * 100 <= STALEWATCH_LOST * STALEWATCH_SAMPLES;
}

bool stalewatch_judge(struct stalewatch *w, unsigned known, uint64_t now_ns)
{
	w->count = 0;
	if (known * 100 >= STALEWATCH_KNOWN * STALEWATCH_SAMPLES) {
		w->knew = true;
		w->pause_sec = 0;
		return false;
	}
	if (!w->knew || !stalewatch_has_lost(known) || now_ns < w->quiet_until_ns)
		return false;
	pause_longer(w, now_ns);
	return true;
}
