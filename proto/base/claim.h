/* claim: what must be true if the program is right. Always on, in release builds too.
 *
 *   CLAIM(lease->token_begin < lease->token_end);
 *
 * One condition each. A claim that fails prints file, line and condition and aborts the process:
 * going on would be worse. Never CLAIM what a peer, a file or an operator can cause: that is an
 * enum status (status.h). */
#ifndef CARAVAN_CLAIM_H
#define CARAVAN_CLAIM_H

#define CLAIM(condition) \
  ((condition) ? (void)0 : claim_failed(#condition, __FILE__, __LINE__, __func__))

_Noreturn void claim_failed(const char *condition, const char *file, int line,
                            const char *function);

#endif
