"""How programs introduce what they quote below an answer: one form each, in words of our own."""

from __future__ import annotations

NOW = "Дякую, все гаразд.\nІрина"
BODY = "> Де моє замовлення?\n> 17"
PLAIN = "Де моє замовлення?\n17"

CLIENTS = {
    "gmail en": f"On Mon, Mar 2, 2026 at 9:00 AM Support <support@desk.test> wrote:\n\n{BODY}",
    "gmail en, wrapped": f"On Mon, Mar 2, 2026 at 9:00 AM Desk\n<support@desk.test> wrote:\n{BODY}",
    "gmail uk": f"пн, 2 бер. 2026 р. о 09:00 Support <support@desk.test> пише:\n\n{BODY}",
    "gmail uk, wrapped": f"пн, 2 бер. 2026 р. о 09:00 Desk\n<support@desk.test> пише:\n{BODY}",
    "gmail ru": f"пн, 2 мар. 2026 г. в 09:00, Support <support@desk.test>:\n\n{BODY}",
    "gmail de": f"Am Mo., 2. März 2026 um 09:00 Uhr schrieb Support <support@desk.test>:\n\n{BODY}",
    "gmail fr": f"Le lun. 2 mars 2026 à 09:00, Support <support@desk.test> a écrit :\n\n{BODY}",
    "gmail es": f"El lun, 2 mar 2026 a las 9:00, Support (<support@desk.test>) escribió:\n\n{BODY}",
    "gmail it": f"Il giorno lun 2 mar 2026 alle ore 09:00 Support <s@d.test> ha scritto:\n\n{BODY}",
    "gmail pl": f"pon., 2 mar 2026 o 09:00 Support <support@desk.test> napisał(a):\n\n{BODY}",
    "gmail cs": f"po 2. 3. 2026 v 9:00 odesílatel Support <support@desk.test> napsal:\n\n{BODY}",
    "gmail nl": f"Op ma 2 mrt 2026 om 09:00 schreef Support <support@desk.test>:\n\n{BODY}",
    "gmail pt": f"Em seg., 2 de mar. de 2026 às 09:00, Support <s@d.test> escreveu:\n\n{BODY}",
    "gmail sv": f"Den mån 2 mars 2026 kl 09:00 skrev Support <support@desk.test>:\n\n{BODY}",
    "gmail forward": f"---------- Forwarded message ---------\nFrom: Shop <s@x.test>\n\n{PLAIN}",
    "gmail uk forward": f"---------- Переслане повідомлення ---------\nВід: Shop\n\n{PLAIN}",
    "apple en": f"> On 2 Mar 2026, at 09:00, Support <support@desk.test> wrote:\n> \n{BODY}",
    "apple uk": f"> 2 бер. 2026 р. о 09:00 Support <support@desk.test> написав(-ла):\n> \n{BODY}",
    "apple ru": f"> 2 марта 2026 г., в 09:00, Support <support@desk.test> написал(а):\n> \n{BODY}",
    "apple forward": f"Begin forwarded message:\n\nFrom: Shop <s@x.test>\nDate: today\n\n{PLAIN}",
    "thunderbird en": f"On 02.03.26 09:00, Support wrote:\n{BODY}",
    "thunderbird uk": f"02.03.26 09:00, Support пише:\n{BODY}",
    "thunderbird ru": f"02.03.2026 9:00, Support пишет:\n{BODY}",
    "thunderbird de": f"Am 02.03.26 um 09:00 schrieb Support:\n{BODY}",
    "thunderbird fr": f"Le 02/03/2026 à 09:00, Support a écrit :\n{BODY}",
    "outlook en": "From: Support <support@desk.test>\nSent: Monday, March 2, 2026 9:00 AM\n"
    f"To: Iryna\nSubject: Order\n\n{PLAIN}",
    "outlook en, ruled": f"{'_' * 32}\nFrom: Support\nSent: Monday, March 2, 2026\n"
    f"To: Iryna\nSubject: Order\n\n{PLAIN}",
    "outlook uk": "Від: Support <support@desk.test>\nНадіслано: 2 березня 2026 р. 9:00\n"
    f"Кому: Ірина\nТема: Замовлення\n\n{PLAIN}",
    "outlook ru": "От: Support\nОтправлено: 2 марта 2026 г. 9:00\nКому: Ирина\nТема: Заказ\n\n"
    + PLAIN,
    "outlook de": "Von: Support\nGesendet: Montag, 2. März 2026 09:00\nAn: Iryna\nBetreff: x\n\n"
    + PLAIN,
    "outlook fr": "De : Support\nEnvoyé : lundi 2 mars 2026 09:00\nÀ : Iryna\nObjet : x\n\n"
    + PLAIN,
    "outlook pl": "Od: Support\nWysłano: 2 marca 2026 09:00\nDo: Iryna\nTemat: x\n\n" + PLAIN,
    "outlook bold": "*From:* Support\n*Sent:* Monday, March 2, 2026\n*To:* Iryna\n\n" + PLAIN,
    "outlook express": f"----- Original Message -----\nFrom: Support\nTo: Iryna\n\n{PLAIN}",
    "outlook uk express": f"-----Вихідне повідомлення-----\nВід: Support\n\n{PLAIN}",
    "yahoo": f"On Monday, March 2, 2026, 9:00 AM, Support <support@desk.test> wrote:\n\n {PLAIN}",
    "samsung": f"-------- Original message --------\nFrom: Support\nDate: 02/03/2026\n\n{PLAIN}",
    "ukr.net": f"--- Оригінальне повідомлення ---\nВід кого: Support\nДата: 2 березня\n\n{PLAIN}",
    "mail.ru": f"Понедельник, 2 марта 2026, 9:00 +02:00 от Support <s@d.test>:\n{BODY}",
    "protonmail": f"On Monday, March 2nd, 2026 at 09:00, Support <s@d.test> wrote:\n\n{BODY}",
    "mutt": f"On Mon, Mar 02, 2026 at 09:00:00AM +0200, Support wrote:\n{BODY}",
    "roundcube": f"Support писав 2026-03-02 09:00:\n{BODY}",
    "no introduction": BODY,
}
